"""The administrator's settings: command line and file, the command line first.

The file is INI::

    [web]
    server = spalloc.example.org:22244
    history = sqlite:////var/lib/spalloc-history/history.db
    anonymous = states

    [notice ops]
    url = mailto://user:password@mail.example.org?to=ops@example.org
    kinds = board, frame, report, disk

Destinations of notices stand only there, since their addresses hold passwords.
"""

from __future__ import annotations

import configparser
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spalloc_web._sight import Sight

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Kinds of notices, and the subject of each.
NOTICE_KINDS = {
    "board": "a board goes out of service or comes back",
    "frame": "a frame does not answer, or answers again",
    "report": "a board was reported by users",
    "disk": "the server's disk is in trouble",
}
DEFAULT_SERVER = "localhost:22244"
DEFAULT_LISTEN = "127.0.0.1:22280"
#: Web servers in front whose headers are believed.
DEFAULT_PROXIES = "127.0.0.0/8, ::1"
#: Begins the path of a Unix socket, in the place of HOST:PORT.
UNIX = "unix:"
_WEB_OPTIONS = (
    "server",
    "listen",
    "history",
    "cert",
    "key",
    "behind_proxy",
    "proxies",
    "base",
    "anonymous",
    "users",
    "health",
    "state_dir",
)


class SettingError(Exception):
    """A setting that cannot be; the text names it, its value and the values allowed."""


@dataclass(frozen=True)
class Destination:
    """Where notices go.

    Attributes
    ----------
    name : str
        As in the file's ``[notice NAME]``.
    url : str
        For Apprise; holds passwords, so it is never logged or shown.
    kinds : frozenset of str
        Keys of `NOTICE_KINDS`.
    """

    name: str
    url: str = field(repr=False)
    kinds: frozenset[str] = frozenset(NOTICE_KINDS)


@dataclass(frozen=True)
class Settings:
    """All settings, checked.

    Attributes
    ----------
    server, listen : (host, port)
        The server's host is ``unix:PATH`` for a Unix socket; its port is 0 then.
    history : str or None
        URL of the history database, or the path of a SQLite file.
    proxies : tuple of networks
        Addresses of web servers in front, of which X-Forwarded-For and -Proto are believed if
        `behind_proxy` is set.
    users : Path or None
        The users' file; None: nobody can log in.
    base : str
        The first part of all paths: empty, or ``/prefix`` without a final slash.
    health : str or None
        Address of the server's ``/health`` page, for notices of disk trouble.
    state_dir : Path or None
        Folder for the memory of notices.
    """

    server: tuple[str, int]
    listen: tuple[str, int]
    history: str | None = None
    cert: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    proxies: tuple[Network, ...] = ()
    base: str = ""
    anonymous: Sight = Sight.STATES
    users: Path | None = None
    health: str | None = None
    state_dir: Path | None = None
    destinations: tuple[Destination, ...] = ()


def read_file(path: Path) -> tuple[dict[str, str], tuple[Destination, ...]]:
    """Read the administrator's file.

    Returns
    -------
    values, destinations
        The options of ``[web]``, and the destinations of notices.

    Raises
    ------
    SettingError
        If the file cannot be read, or something in it cannot be.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as e:
        raise SettingError(f"{path}: {e}") from e
    values: dict[str, str] = {}
    destinations = []
    for section in parser.sections():
        if section == "web":
            values = dict(parser[section])
        elif section.startswith("notice "):
            destinations.append(_destination(path, section, parser[section]))
        else:
            raise SettingError(
                f"{path}: section [{section}]: there are [web] and [notice NAME] only"
            )
    for name in values:
        if name not in _WEB_OPTIONS:
            raise SettingError(
                f"{path}: [web] has no option {name!r}; it has {', '.join(_WEB_OPTIONS)}"
            )
    return values, tuple(destinations)


def _destination(path: Path, section: str, options: Mapping[str, str]) -> Destination:
    name = section.removeprefix("notice ").strip()
    where = f"{path}: [{section}]"
    for option in options:
        if option not in {"url", "kinds"}:
            raise SettingError(f"{where} has no option {option!r}; it has url and kinds")
    url = options.get("url", "").strip()
    if not url:
        raise SettingError(f"{where} needs a url")
    kinds = frozenset(word.strip() for word in options.get("kinds", "").split(",")) - {""}
    for kind in sorted(kinds):
        if kind not in NOTICE_KINDS:
            raise SettingError(f"{where}: kind {kind!r} is none of {', '.join(NOTICE_KINDS)}")
    return Destination(name, url, kinds or frozenset(NOTICE_KINDS))


def settings_of(
    values: Mapping[str, str], destinations: tuple[Destination, ...] = ()
) -> Settings:
    """Check values and put them together.

    Parameters
    ----------
    values
        By option name, as text; options that are missing have their defaults.
    destinations
        Of notices.

    Raises
    ------
    SettingError
        For the first value that cannot be.
    """
    settings = Settings(
        server=_server(values.get("server", DEFAULT_SERVER)),
        listen=_address("listen", values.get("listen", DEFAULT_LISTEN)),
        history=values.get("history") or None,
        cert=_file("cert", values.get("cert")),
        key=_file("key", values.get("key")),
        behind_proxy=_yes("behind_proxy", values.get("behind_proxy", "no")),
        proxies=_networks(values.get("proxies") or DEFAULT_PROXIES),
        base=_base(values.get("base", "")),
        anonymous=_sight(values.get("anonymous", "states")),
        users=Path(values["users"]) if values.get("users") else None,
        health=_health(values.get("health")),
        state_dir=Path(values["state_dir"]) if values.get("state_dir") else None,
        destinations=destinations,
    )
    _check_together(settings)
    return settings


def _check_together(settings: Settings) -> None:
    if (settings.cert is None) != (settings.key is None):
        raise SettingError("cert and key belong together: give both or neither")
    host = settings.listen[0]
    if not (settings.cert or settings.behind_proxy or is_loopback(host)):
        raise SettingError(
            f"listen {host!r} can be reached from other computers: that needs TLS"
            " (cert and key) or a web server in front (behind_proxy)"
        )
    if settings.destinations and settings.state_dir is None:
        raise SettingError("notices need state_dir, a folder where their cursors are kept")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this computer alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _server(text: str) -> tuple[str, int]:
    if not text.startswith(UNIX):
        return _address("server", text)
    if not text.removeprefix(UNIX).startswith("/"):
        raise SettingError(f"server {text!r} names no Unix socket: expected unix:/PATH")
    return text, 0


def _networks(text: str) -> tuple[Network, ...]:
    found = []
    for part in text.replace(",", " ").split():
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError as e:
            raise SettingError(f"proxies: {part!r} is no address or network ({e})") from e
    return tuple(found)


def _address(option: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SettingError(f"{option} {text!r} is no HOST:PORT with a port of 0 to 65535")
    return host, int(port)


def _file(option: str, text: str | None) -> Path | None:
    if not text:
        return None
    path = Path(text)
    if not path.is_file():
        raise SettingError(f"{option} {text!r} is no file")
    return path


def _yes(option: str, text: str) -> bool:
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError as e:
        raise SettingError(f"{option} {text!r} is neither yes nor no") from e


def _base(text: str) -> str:
    base = text.rstrip("/")
    if base and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", base):
        raise SettingError(
            f"base {text!r} is no path like /spalloc, of letters, digits and ._~- alone"
        )
    return base


def _sight(text: str) -> Sight:
    try:
        return Sight(text)
    except ValueError as e:
        raise SettingError(f"anonymous {text!r} is none of none, states, all") from e


def _health(text: str | None) -> str | None:
    if text and not text.startswith(("http://", "https://")):
        raise SettingError(f"health {text!r} is no address that begins with http:// or https://")
    return text or None
