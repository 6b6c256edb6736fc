"""Identities and their principals."""

import ipaddress

import pytest

from spalloc_server._access.identity import Identity, identity_of, parse_address, parse_principal


@pytest.mark.parametrize(
    ("text", "principal"),
    [
        ("192.0.2.7", "host:192.0.2.7"),
        ("::ffff:192.0.2.7", "host:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "host:2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "host:2001:db8:1:2::/64"),
        # Everybody is in the network of link-local addresses.
        ("fe80::1%eth0", "host:fe80::1"),
        ("FE80:0::2", "host:fe80::2"),
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


@pytest.mark.parametrize(
    ("text", "principal"),
    [
        ("cert:ada@example.org", "cert:ada@example.org"),
        ("user:a", "user:a"),
        ("unix:0", "unix:0"),
        ("unix:007", "unix:7"),
        ("host:192.0.2.7", "host:192.0.2.7"),
        ("host:::ffff:192.0.2.7", "host:192.0.2.7"),
        ("host:2001:DB8::5", "host:2001:db8::/64"),
        ("host:2001:db8::/64", "host:2001:db8::/64"),
        ("host:fe80::1", "host:fe80::1"),
    ],
)
def test_a_principal_is_read_in_its_normal_form(text: str, principal: str) -> None:
    assert parse_principal(text) == principal


@pytest.mark.parametrize(
    "text",
    [
        "", "ada", "cert:", "user:", "unix:", "unix:ada", "unix:-1", "unix:\u0661", "host:",
        "host:localhost", "host:192.0.2.7/24", "host:192.0.2.7/64", "host:2001:db8::/48",
        "host:2001:db8::5/64", "host:2001:db8::/", "local", "local:", "ldap:ada",
    ],
)  # fmt: skip
def test_a_principal_that_nobody_can_have_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no principal: expected host:ADDRESS"):
        parse_principal(text)


@pytest.mark.parametrize(
    "principal",
    [
        "host:192.0.2.7",
        "host:2001:db8::/64",
        "host:fe80::1",
        "unix:5",
        "cert:a:b",
        "user:ada",
        "local",
    ],
)
def test_a_principal_tells_who_it_is(principal: str) -> None:
    assert identity_of(principal).principal == principal


def test_a_name_that_is_no_principal_tells_nothing() -> None:
    for text in ("unix:ada", "host:somewhere", "ada", ""):
        assert identity_of(text) == Identity()
