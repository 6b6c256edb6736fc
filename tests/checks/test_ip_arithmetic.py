"""Reading, scaling and writing IPv4 addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._checks.ip_arithmetic import format_ipv4, parse_ipv4, strided_address


@given(st.integers(0, 2**32 - 1))
def test_an_address_survives_writing_and_reading(number: int) -> None:
    assert parse_ipv4(format_ipv4(number)) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.0.0.0", 0),
        ("0.0.0.8", 8),
        ("0.0.1.0", 256),
        ("192.168.0.1", 0xC0A80001),
        ("192.168.000.001", 0xC0A80001),
        ("255.255.255.255", 2**32 - 1),
    ],
)
def test_addresses_are_read_as_numbers(text: str, number: int) -> None:
    assert parse_ipv4(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.-4",
        " 1.2.3.4",
        "1.2.3.4\n",
        "1,2,3,4",
        "192x168.0.1",
        "0x1.2.3.4",
        "1.2.3.0004",
        "\u0661.2.3.4",
        "spinn-1.example",
    ],
)
def test_a_malformed_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="malformed IPv4 address") as caught:
        parse_ipv4(text)
    assert repr(text) in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("other", [None, 5, b"1.2.3.4"])
def test_what_is_no_text_is_malformed_too(other: str) -> None:
    with pytest.raises(ValueError, match="malformed IPv4 address"):
        parse_ipv4(other)


@pytest.mark.parametrize("number", [-1, 2**32])
def test_numbers_beyond_the_addresses_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match=str(number)):
        format_ipv4(number)


def test_an_address_follows_from_the_place() -> None:
    base, strides = (
        parse_ipv4("10.0.0.0"),
        [parse_ipv4(s) for s in ("0.0.5.0", "0.0.1.0", "0.0.0.8")],
    )

    address = strided_address(base, strides, (2, 3, 4), 1)

    assert address == "10.0.13.33"


def test_a_place_without_an_address_is_named() -> None:
    with pytest.raises(ValueError, match=r"position \(1, 0, 0\)"):
        strided_address(parse_ipv4("255.255.255.0"), [256, 256, 8], (1, 0, 0), 0)
