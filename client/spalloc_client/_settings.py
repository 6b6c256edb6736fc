"""Where configuration files are, and what may stand in them.

Nothing here knows what the settings are used for.
"""

import configparser
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from spalloc_client.errors import ConfigError

SECTION = "spalloc"

#: In a folder of configuration, the files looked for, rising priority.
FILES_IN_FOLDER = ("spalloc.ini", ".spalloc")


class Settings(NamedTuple):
    """All settings, with their defaults."""

    hostname: str | None = None
    owner: str | None = None
    port: int = 22244
    keepalive: float | None = 60.0
    reconnect_delay: float = 5.0
    timeout: float | None = 5.0
    machine: str | None = None
    tags: list[str] | None = None
    min_ratio: float | None = 0.333
    max_dead_boards: int | None = 0
    max_dead_links: int | None = None
    require_torus: bool = False


def search_path() -> list[str]:
    """Return the places looked at, rising priority: the system's, the user's, here."""
    folders = platformdirs.site_config_dir("spalloc", multipath=True).split(":")
    # Of several system-wide folders (XDG_CONFIG_DIRS) the first counts most.
    return [*reversed(folders), *_user_place(), ".spalloc"]


def _user_place() -> list[str]:
    """Return the user's own place; none for a user without a home, as containers have."""
    try:
        place = platformdirs.user_config_dir("spalloc")
    except RuntimeError:
        return []
    # Old versions of platformdirs leave the sign for home as it is.
    return [] if place.startswith("~") else [place]


# --- what each option allows; each function raises ValueError(what is allowed) ---


def _fail(allowed: str) -> ValueError:
    return ValueError(allowed)


def _text(value: str) -> str:
    if not value:
        raise _fail("a text")
    return value


def _port(value: str) -> int:
    number = _whole(value, "a whole number from 1 to 65535")
    if not 1 <= number <= 65535:
        raise _fail("a whole number from 1 to 65535")
    return number


def _whole(value: str, allowed: str = "a whole number from 0, or None") -> int:
    # int() would take "1_000" and "+3" too, which nobody means here.
    if not (value.isascii() and value.isdigit()):
        raise _fail(allowed)
    return int(value)


def _number(value: str, allowed: str, above_zero: bool) -> float:
    try:
        number = float(value)
    except ValueError:
        raise _fail(allowed) from None
    if not math.isfinite(number) or number < 0 or (above_zero and number == 0):
        raise _fail(allowed)
    return number


def _seconds_or_none(value: str) -> float | None:
    return _number(value, "a number of seconds above 0, or None", above_zero=True)


def _seconds(value: str) -> float:
    return _number(value, "a number of seconds, 0 or more", above_zero=False)


def _ratio(value: str) -> float:
    return _number(value, "a number, 0 or more", above_zero=False)


def _tags(value: str) -> list[str]:
    return [tag.strip() for tag in value.split(",") if tag.strip()]


def _boolean(value: str) -> bool:
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[value.lower()]
    except KeyError:
        raise _fail("True or False") from None


#: How each option is read, and whether None may stand there.
_OPTIONS: dict[str, tuple[Callable[[str], Any], bool]] = {
    "hostname": (_text, True),
    "owner": (_text, True),
    "port": (_port, False),
    "keepalive": (_seconds_or_none, True),
    "reconnect_delay": (_seconds, False),
    "timeout": (_seconds_or_none, True),
    "machine": (_text, True),
    "tags": (_tags, True),
    "min_ratio": (_ratio, False),
    "max_dead_boards": (_whole, True),
    "max_dead_links": (_whole, True),
    "require_torus": (_boolean, False),
}


class Source(NamedTuple):
    """A file that was read, and what it set."""

    filename: str
    values: dict[str, Any]
    unknown: list[str]


def read_sources(filenames: Sequence[str]) -> list[Source]:
    """Read those of the files that exist, in the order given.

    Parameters
    ----------
    filenames
        Files, or folders in which they are called as in `FILES_IN_FOLDER`.

    Raises
    ------
    ConfigError
        If a file cannot be read or holds a bad value; names file, option and what is
        allowed.
    """
    return [_read_file(path) for name in filenames for path in _files(name)]


def merge(sources: Sequence[Source]) -> Settings:
    """Lay the sources over the defaults, the last on top."""
    settings = Settings()
    for source in sources:
        settings = settings._replace(**source.values)
    return settings


def _files(name: str) -> list[Path]:
    try:
        path = Path(name).expanduser()
        found = [path / file for file in FILES_IN_FOLDER] if path.is_dir() else [path]
        return [file for file in found if file.is_file()]
    except (OSError, RuntimeError) as exc:  # a folder closed to us; ~ of nobody
        raise ConfigError(f"{name}: cannot be read: {exc}") from exc


def _read_file(path: Path) -> Source:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8-sig"), str(path))
    except (OSError, UnicodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
    except configparser.Error as exc:
        raise ConfigError(f"{path}: {' '.join(str(exc).split())}") from exc
    values = {}
    section = parser[SECTION] if parser.has_section(SECTION) else {}
    for option in _OPTIONS.keys() & set(section):
        values[option] = _read_option(path, option, section[option].strip())
    return Source(str(path), values, sorted(set(section) - _OPTIONS.keys()))


def _read_option(path: Path, option: str, text: str) -> Any:
    read, may_be_none = _OPTIONS[option]
    if may_be_none and text.lower() == "none":
        return None
    try:
        return read(text)
    except ValueError as allowed:
        raise ConfigError(f"{path}: {option} = {text!r}: must be {allowed}") from None
