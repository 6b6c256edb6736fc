"""Globals of a configuration file that are not about machines."""

import math

import pytest

from spalloc_server._checks import settings
from spalloc_server._checks.settings import SettingError, Settings, seconds, settings_among
from spalloc_server._saved import store
from spalloc_server.links import Links


def test_every_setting_has_a_rule_that_allows_its_default() -> None:
    assert settings._RULES.keys() == set(Settings._fields)
    for name, default in Settings()._asdict().items():
        assert settings._RULES[name].allows(default), name


def test_the_file_knows_the_durabilities_of_the_store() -> None:
    assert settings.DURABILITIES == store.DURABILITIES


def test_other_globals_are_no_settings() -> None:
    assert settings_among({"machines": [], "durability": "none"}) == Settings("none")


def test_a_value_of_an_odd_type_is_not_printed() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("not printable")

    with pytest.raises(SettingError, match="`durability` is a Odd: expected one of 'process'"):
        settings_among({"durability": Odd()})


@pytest.mark.parametrize("value", [0, 1.5, 10**30])
def test_seconds_are_numbers(value: float) -> None:
    assert seconds().allows(value)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, "5", None, 1j])
def test_other_values_are_no_seconds(value: object) -> None:
    assert not seconds().allows(value)


def test_settings_are_kept_as_plain_numbers_and_texts() -> None:
    class Word(str):
        """Text of a class of its own."""

    found = settings_among({"patience": Links.north, "durability": Word("none")})

    assert type(found.patience) is int
    assert type(found.durability) is str
    assert (found.patience, found.durability) == (2, "none")


def test_a_number_beyond_all_floats_is_no_number_of_seconds() -> None:
    assert not seconds().allows(10**400)
