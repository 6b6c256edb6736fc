"""Which denied connections are logged."""

from spalloc_server._access.denials import MAX_NETWORKS, Denials, network_of
from spalloc_server._access.identity import parse_address


def test_a_network_is_logged_once_a_minute_with_the_count() -> None:
    denials = Denials()
    one, other = parse_address("192.0.2.7"), parse_address("192.0.2.99")

    assert denials.note(one, 0.0) == 1
    assert denials.note(other, 1.0) is None
    assert denials.note(one, 59.0) is None
    assert denials.note(one, 60.0) == 3
    assert denials.note(one, 61.0) is None
    assert denials.count == 5


def test_networks_are_told_apart() -> None:
    denials = Denials()

    assert denials.note(parse_address("192.0.2.7"), 0.0) == 1
    assert denials.note(parse_address("198.51.100.7"), 0.0) == 1
    assert denials.note(parse_address("2001:db8::1"), 0.0) == 1
    assert denials.note(None, 0.0) == 1
    assert network_of(parse_address("2001:db8::1")) == "2001:db8::/64"
    assert network_of(None) == "local users"


def test_so_many_networks_are_remembered_and_no_more() -> None:
    denials = Denials()
    first = parse_address("10.0.0.1")
    denials.note(first, 0.0)
    for number in range(MAX_NETWORKS):
        denials.note(parse_address(f"10.{1 + number // 256}.{number % 256}.1"), 0.0)

    assert len(denials._networks) == MAX_NETWORKS
    assert denials.note(first, 1.0) == 1, "forgotten, so it counts as new"
