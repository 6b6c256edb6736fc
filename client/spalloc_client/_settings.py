"""Where settings come from: configuration files and the environment, and their values.

Nothing here knows the use of a setting.
"""

import configparser
import difflib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from spalloc_client._address import check_hostname
from spalloc_client._endpoint import Endpoint
from spalloc_client._request import Request
from spalloc_client.errors import ConfigError

_log = logging.getLogger(__name__)

SECTION = "spalloc"

#: The environment variable of an option is its name behind this, in capitals.
PREFIX = "SPALLOC_"

#: Variables of ours that hold no settings.
OTHER_VARIABLES = frozenset({f"{PREFIX}CODE"})

#: How much a name must resemble an option for us to ask whether that was meant, from 0 to 1.
_RESEMBLANCE = 0.6  # arbitrary

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
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def endpoint(self) -> Endpoint:
        """Return the server's door; a host name there must be.

        Raises
        ------
        ValueError
            If the host name cannot be one, or a file for TLS cannot be used.
        """
        assert self.hostname is not None
        return Endpoint(
            self.hostname, self.port, tls=self.tls, ca=self.ca, cert=self.cert, key=self.key
        )

    def request(self, numbers: tuple[int, ...]) -> Request:
        """Return the request for boards that these settings and some numbers make."""
        return Request(
            numbers,
            self.machine,
            frozenset(["default"] if self.tags is None else self.tags),
            self.min_ratio or 0.0,
            self.max_dead_boards,
            self.max_dead_links,
            self.require_torus,
        )


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


# --- the values of each option; each function raises ValueError("must be ...") ---


def _fail(allowed: str, value: str) -> ValueError:
    return ValueError(f"must be {allowed}, not {value!r}")


def _text(value: str) -> str:
    if not value or "\n" in value:
        raise _fail("a text of one line", value)
    return value


def _file(value: str) -> str:
    return str(Path(_text(value)).expanduser())


def _port(value: str) -> int:
    number = _whole(value, "a whole number from 1 to 65535")
    if not 1 <= number <= 65535:
        raise _fail("a whole number from 1 to 65535", value)
    return number


def _whole(value: str, allowed: str = "a whole number from 0, or None") -> int:
    # int() would take "1_000" and "+3" too, which nobody means here.
    if not (value.isascii() and value.isdigit()):
        raise _fail(allowed, value)
    return int(value)


def _number(value: str, allowed: str, above_zero: bool) -> float:
    try:
        number = float(value)
    except ValueError:
        raise _fail(allowed, value) from None
    if not math.isfinite(number) or number < 0 or (above_zero and number == 0):
        raise _fail(allowed, value)
    return number


def _seconds_or_none(value: str) -> float | None:
    return _number(value, "a number of seconds above 0, or None", above_zero=True)


def _seconds(value: str) -> float:
    return _number(value, "a number of seconds, 0 or more", above_zero=False)


def _ratio(value: str) -> float:
    ratio = _number(value, "a number from 0 to 1", above_zero=False)
    if ratio > 1:
        raise _fail("a number from 0 to 1", value)
    return ratio


def _tags(value: str) -> list[str]:
    return [tag.strip() for tag in value.split(",") if tag.strip()]


def _boolean(value: str) -> bool:
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[value.lower()]
    except KeyError:
        raise _fail("True or False", value) from None


#: How each option is read, and whether None may stand there.
_OPTIONS: dict[str, tuple[Callable[[str], Any], bool]] = {
    "hostname": (check_hostname, True),
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
    "tls": (_boolean, False),
    "ca": (_file, True),
    "cert": (_file, True),
    "key": (_file, True),
}


class Source(NamedTuple):
    """A file that was read, or the environment, and the settings in it."""

    name: str
    values: dict[str, Any]
    remarks: list[str]
    """Sentences about things in it that were passed over, and can hardly be meant."""


def read_sources(filenames: Sequence[str]) -> list[Source]:
    """Read those of the files that exist, in the order given.

    Parameters
    ----------
    filenames
        Files, or folders in which they are called as in `FILES_IN_FOLDER`.

    Raises
    ------
    ConfigError
        If a file cannot be read or holds a bad value; names file, option and the values
        that are allowed.
    """
    return [_read_file(path) for name in filenames for path in _files(name)]


def read_environment(environment: Mapping[str, str] | None = None) -> Source:
    """Read the settings in environment variables; an empty one counts as not set.

    Raises
    ------
    ConfigError
        If a variable holds a bad value; names it and the values that are allowed.
    """
    values, remarks = {}, []
    for name, text in sorted((os.environ if environment is None else environment).items()):
        option = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or not text:
            continue
        if option == "port" and text.startswith("tcp://"):
            continue  # Kubernetes says so where there is a service called spalloc
        if option in _OPTIONS and name.isupper():
            values[option] = _read_option(f"environment: {name}", option, text.strip())
        elif name not in OTHER_VARIABLES and (meant := _resembling(option)):
            meant = PREFIX + meant.upper()
            remarks.append(f"environment: {name} is not read; did you mean {meant}?")
    return Source("environment", values, remarks)


def usual_sources() -> list[Source]:
    """Read all places where settings may be, rising priority: the files, the environment.

    Raises
    ------
    ConfigError
        As `read_sources` and `read_environment` do.
    """
    return [*read_sources(search_path()), read_environment()]


def merge(sources: Sequence[Source]) -> Settings:
    """Lay the sources over the defaults, the last on top.

    A machine overrules tags of the sources below it, and the other way.
    """
    settings = Settings()
    for source in sources:
        if source.values.get("machine") is not None:
            settings = settings._replace(tags=None)
        if source.values.get("tags") is not None:
            settings = settings._replace(machine=None)
        settings = settings._replace(**source.values)
    return settings


def log_remarks(sources: Sequence[Source]) -> None:
    """Warn of the settings that were passed over, where a program did not ask for them."""
    for source in sources:
        for remark in source.remarks:
            _log.warning("%s", remark)


def _files(name: str) -> list[Path]:
    try:
        path = Path(name).expanduser()
        found = [path / file for file in FILES_IN_FOLDER] if path.is_dir() else [path]
        return [file for file in found if file.is_file()]
    except (OSError, RuntimeError) as exc:  # a folder closed to us; ~ of nobody
        raise ConfigError(f"{name}: cannot be read: {exc}") from exc


def _read_file(path: Path) -> Source:
    # A comment may stand behind a value, after a space: nobody means it as part of it.
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#", ";"))
    try:
        parser.read_string(path.read_text("utf-8-sig"), str(path))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        byte = f"byte 0x{exc.object[exc.start]:x}"
        raise ConfigError(f"{path}: must be UTF-8 text, not {byte} in line {line}") from exc
    except configparser.MissingSectionHeaderError as exc:
        raise ConfigError(
            f"{path}: line {exc.lineno} stands before any section; begin with [{SECTION}]"
        ) from exc
    except configparser.Error as exc:
        raise ConfigError(f"{path}: {' '.join(str(exc).split())}") from exc
    values, remarks = {}, [f"{path}: {text}" for text in _odd_sections(parser)]
    section = parser[SECTION] if parser.has_section(SECTION) else {}
    for option in section:
        text = section[option].strip()
        if option not in _OPTIONS:
            meant = _resembling(option)
            question = f"; did you mean {meant}?" if meant else ""
            remarks.append(f"{path}: {option} is no option of ours{question}")
            continue
        values[option] = _read_option(f"{path}: {option}", option, text)
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            remarks.append(f"{path}: {option}: the quotes count as part of the value")
    return Source(str(path), values, remarks)


def _odd_sections(parser: configparser.ConfigParser) -> list[str]:
    return [
        f"section [{name}] is not read; did you mean [{SECTION}]?"
        for name in parser.sections()
        if name != SECTION
        and difflib.get_close_matches(name.strip().lower(), [SECTION], cutoff=_RESEMBLANCE)
    ]


def _resembling(option: str) -> str | None:
    found = difflib.get_close_matches(option, _OPTIONS, n=1, cutoff=_RESEMBLANCE)
    return found[0] if found else None


def _read_option(place: str, option: str, text: str) -> Any:
    read, may_be_none = _OPTIONS[option]
    if may_be_none and text.lower() == "none":
        return None
    try:
        return read(text)
    except ValueError as exc:
        raise ConfigError(f"{place} {exc}") from None
