"""Identities and their principals."""

import ipaddress

import pytest

from spalloc_server._access.identity import Identity, parse_address


@pytest.mark.parametrize(
    ("text", "principal"),
    [
        ("192.0.2.7", "host:192.0.2.7"),
        ("::ffff:192.0.2.7", "host:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "host:2001:db8:1:2::/64"),
        ("fe80::1%eth0", "host:fe80::/64"),
    ],
)
def test_a_host_is_its_address_in_normal_form(text: str, principal: str) -> None:
    assert Identity(parse_address(text)).principal == principal


@pytest.mark.parametrize("text", [None, "", "localhost", "192.0.2.256", "192.0.2.7/24"])
def test_other_texts_are_no_addresses(text: str | None) -> None:
    assert parse_address(text) is None


def test_the_strongest_name_counts() -> None:
    address = ipaddress.ip_address("192.0.2.7")

    assert Identity().principal == "local"
    assert Identity(address, uid=0).principal == "unix:0"
    assert Identity(address, certificate="ada").principal == "cert:ada"
    assert Identity(address, certificate="web", user="ada").principal == "user:ada"
