"""Settings: globals of a configuration file that are not about machines.

Owns their table: name, default, and the values that are allowed. Knows nothing of files
or of the parts of the server that obey a setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from spalloc_server._access.policy import Policy
from spalloc_server._checks.values import is_finite, plain

#: The values of `durability`, see the reliability chapter.
DURABILITIES = ("process", "always", "none")

#: A hundred years.
_MOST_DAYS = 36525

#: The values of `scheduling`, see the chapter on how boards are shared out.
SCHEDULINGS = ("overtaking", "fcfs", "fcfs-grid")


class Settings(NamedTuple):
    """The settings of one configuration file.

    Attributes
    ----------
    durability : str or None
        One of `DURABILITIES`; None if the file does not say.
    overlap_power_on : bool
        Whether a frame goes on with other boards while some configure their FPGAs.
    takeover_grace : float
        Seconds for which jobs of before a start live without signs of life.
    scheduling : str
        One of `SCHEDULINGS`: the order in which jobs get boards.
    patience : float
        Seconds after which a job's region is closed to others.
    policy : Policy
        The rules of access and isolation.
    keep_names_days : int or None
        Days after which owners and hosts of ended jobs become pseudonyms; None for never.
    """

    durability: str | None = None
    overlap_power_on: bool = True
    takeover_grace: float = 3600.0
    scheduling: str = "overtaking"
    patience: float = 7200.0
    policy: Policy = Policy()
    keep_names_days: int | None = None


class SettingError(ValueError):
    """A setting has a value that is not allowed.

    Attributes
    ----------
    name : str
        Of the setting.
    """

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"`{name}` is {_shown(value)}: expected {allowed}")
        self.name = name


class _Rule(NamedTuple):
    """The values that a setting may have, as a test and as words."""

    allows: Callable[[Any], bool]
    allowed: str


def one_of(*words: str | None) -> _Rule:
    """Allow some words, or None."""

    def allows(value: object) -> bool:
        return (value is None or isinstance(value, str)) and value in words

    return _Rule(allows, "one of " + ", ".join(repr(word) for word in words if word is not None))


def yes_or_no() -> _Rule:
    """Allow True and False."""
    return _Rule(lambda value: isinstance(value, bool), "True or False")


def seconds(least: float = 0.0) -> _Rule:
    """Allow a finite number that is large enough."""

    def allows(value: object) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and is_finite(value) and value >= least  # type: ignore[arg-type,operator]

    return _Rule(allows, f"a number of seconds, {least:g} or more")


def whole_days() -> _Rule:
    """Allow a whole number of days, or None."""

    def allows(value: object) -> bool:
        number = isinstance(value, int) and not isinstance(value, bool)
        return value is None or (number and 1 <= value <= _MOST_DAYS)  # type: ignore[operator]

    return _Rule(allows, f"a whole number of days, 1 to {_MOST_DAYS}, or None")


#: One rule for each field of `Settings`.
_RULES: dict[str, _Rule] = {
    "durability": one_of(None, *DURABILITIES),
    "overlap_power_on": yes_or_no(),
    "takeover_grace": seconds(),
    "scheduling": one_of(*SCHEDULINGS),
    "patience": seconds(),
    "policy": _Rule(
        lambda value: isinstance(value, Policy),
        'a Policy, such as Policy(access=[Rule("10.1.0.0/16", "use")])',
    ),
    "keep_names_days": whole_days(),
}


def settings_among(names: Mapping[str, object]) -> Settings:
    """Pick the settings out of the globals of a configuration file.

    Parameters
    ----------
    names : mapping
        All globals; others are ignored.

    Returns
    -------
    Settings
        With the default of each setting that is not there.

    Raises
    ------
    SettingError
        If a value is not allowed.
    """
    given = {name: names[name] for name in Settings._fields if name in names}
    for name, value in given.items():
        rule = _RULES[name]
        if not rule.allows(value):
            raise SettingError(name, value, rule.allowed)
    settings: Any = Settings
    plain_values = {name: plain(value) for name, value in given.items()}
    return settings(**plain_values)  # type: ignore[no-any-return]


def _shown(value: object) -> str:
    """Show plain values as they are, and others by their type, which may print anything."""
    plain = value is None or type(value) in (bool, int, float, str)
    return repr(value) if plain else f"a {type(value).__name__}"
