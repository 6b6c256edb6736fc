"""Values from outside, checked and quoted."""


import pytest

from spalloc_server._checks.values import escaped, shown, text, whole_number


def test_text_is_text() -> None:
    assert text("reason", "x") == "x"
    with pytest.raises(TypeError, match="reason must be text, not 3"):
        text("reason", 3)


def test_integers_of_a_class_of_their_own_are_whole_numbers() -> None:
    class Number(int):
        pass

    assert whole_number("n", Number(3)) == 3


def test_what_is_shown_is_short() -> None:
    assert shown("x") == "'x'"
    assert len(shown("x" * 10_000)) < 210
    assert shown(10**100_000) == "a number of 332193 bits"


def test_text_stays_on_its_line() -> None:
    assert escaped("a\nb\x1b[2J\u2028 \u00e9") == "a\\nb\\x1b[2J\\u2028 \u00e9"
    assert escaped("caf\u00e9") == "caf\u00e9"
