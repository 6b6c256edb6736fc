"""The settings of a job: its arguments, laid over the files and the environment.

It owns the sign for an argument that was not given, and the refusal of values that would fail
later. It knows nothing of servers.
"""

import enum
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

from spalloc_client._address import check_hostname
from spalloc_client._settings import Settings, log_remarks, merge, read_sources, usual_sources

#: The values that settings may have which are numbers.
_NUMBERS = {
    "keepalive": "a number of seconds above 0, or None",
    "timeout": "a number of seconds above 0, or None",
    "reconnect_delay": "a number of seconds, 0 or more",
    "min_ratio": "a number from 0 to 1, or None",
}


class NotGiven(enum.Enum):
    """Tells an argument that was not given from one that is None."""

    token = 0


NOT_GIVEN: Final = NotGiven.token
Missing: TypeAlias = Literal[NotGiven.token]


def settle(config_filenames: str | Sequence[str] | None, given: dict[str, Any]) -> Settings:
    """Lay the arguments over the settings in files and the environment.

    Parameters
    ----------
    config_filenames : str, sequence of str or None
        Files to read in the place of the usual ones and the environment.
    given : dict
        {setting: value, or `NOT_GIVEN`}.

    Raises
    ------
    ValueError
        If both machine and tags are given, or a value is none that can be meant.
    """
    if config_filenames is None:
        sources = usual_sources()
    elif isinstance(config_filenames, str):
        sources = read_sources([config_filenames])
    elif not isinstance(config_filenames, Iterable):
        raise ValueError(
            f"config_filenames must be a text or a sequence of texts, not {config_filenames!r}"
        )
    else:
        sources = read_sources(config_filenames)
    log_remarks(sources)
    chosen = {name: value for name, value in given.items() if value is not NOT_GIVEN}
    settings = merge(sources)
    # A machine asked for here and now overrules tags from a file, and the other way.
    if chosen.get("machine") is not None:
        settings = settings._replace(tags=None)
    if chosen.get("tags") is not None:
        settings = settings._replace(machine=None)
    settings = settings._replace(**chosen)
    if settings.machine is not None and settings.tags is not None:
        raise ValueError("only one of machine and tags may be given")
    if isinstance(settings.tags, str):
        raise ValueError(f"tags must be a sequence of texts, not the text {settings.tags!r}")
    settings = _check(settings)
    # Any sequence or set; on its way to the server it becomes an array.
    return settings._replace(tags=None if settings.tags is None else list(settings.tags))


def _check(settings: Settings) -> Settings:
    """Refuse settings that would fail later, and in other words."""
    if not isinstance(settings.hostname, str | None):
        raise ValueError(f"hostname must be a text, not {settings.hostname!r}")
    if settings.hostname is not None:
        try:
            settings = settings._replace(hostname=check_hostname(settings.hostname))
        except ValueError as exc:
            raise ValueError(f"hostname {exc}") from None
    if not _is_number(settings.port, int) or not 1 <= settings.port <= 65535:
        raise ValueError(f"port must be a whole number from 1 to 65535, not {settings.port!r}")
    for name, allowed in _NUMBERS.items():
        value = getattr(settings, name)
        if value is None and allowed.endswith("or None"):
            continue
        most = 1 if name == "min_ratio" else math.inf
        fits = _is_number(value, int, float) and 0 <= value <= most and value < math.inf
        if not fits or (value == 0 and "above 0" in allowed):
            raise ValueError(f"{name} must be {allowed}, not {value!r}")
    if not isinstance(settings.tls, bool):
        raise ValueError(f"tls must be True or False, not {settings.tls!r}")
    return settings


def _is_number(value: object, *kinds: type) -> bool:
    """Whether a value is a number of a kind; True and False are none."""
    return isinstance(value, kinds) and not isinstance(value, bool)
