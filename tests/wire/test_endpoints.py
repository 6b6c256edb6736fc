"""Endpoints: their forms, and Unix sockets opened and closed."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from spalloc_server._wire import endpoints
from spalloc_server._wire.endpoints import (
    Endpoint,
    Kind,
    close_unix,
    open_unix,
    proxy_endpoint,
    tcp_endpoints,
    user_id_of,
)


def unix(path: Path, kind: Kind = Kind.unix, group: str | None = None) -> Endpoint:
    return Endpoint(kind, str(path), group=group)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("", [""]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("127.0.0.1, ::1", ["127.0.0.1", "::1"]),
        ("127.0.0.1,127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_addresses_are_separated_by_commas(text: str, addresses: list[str]) -> None:
    assert tcp_endpoints(text) == [Endpoint(Kind.tcp, address) for address in addresses]


def test_an_empty_address_beside_others_is_refused() -> None:
    with pytest.raises(ValueError, match="an address is empty; expected them separated by commas"):
        tcp_endpoints("127.0.0.1,")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("/run/p.sock", Endpoint(Kind.proxy, "/run/p.sock")),
        ("127.0.0.1:9000", Endpoint(Kind.proxy, "127.0.0.1", 9000)),
        ("[::1]:9000", Endpoint(Kind.proxy, "::1", 9000)),
        ("127.0.0.1:0", Endpoint(Kind.proxy, "127.0.0.1", 0)),
        ("127.0.0.1:65535", Endpoint(Kind.proxy, "127.0.0.1", 65_535)),
    ],
)
def test_a_place_for_a_proxy_is_a_path_or_an_address_with_port(
    text: str, endpoint: Endpoint
) -> None:
    assert proxy_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["", "9000", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":1"])
def test_other_places_for_a_proxy_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an absolute path, or ADDRESS:PORT"):
        proxy_endpoint(text)


def test_endpoints_have_names_for_the_log() -> None:
    assert str(Endpoint(Kind.tcp, "")) == "any address"
    assert str(Endpoint(Kind.tcp, "::1", 5)) == "::1, port 5"
    assert str(Endpoint(Kind.unix, "/run/x")) == "/run/x"


def test_a_unix_socket_is_for_all_and_a_proxys_for_its_group(tmp_path: Path) -> None:
    group = os.getgid()
    sockets = [
        open_unix(unix(tmp_path / "all"), 8),
        open_unix(unix(tmp_path / "proxy", Kind.proxy, str(group) if group else "root"), 8),
    ]

    modes = [
        stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("all", "proxy")
    ]

    assert modes == [0o666, 0o660]
    for each in sockets:
        close_unix(each)
    assert list(tmp_path.iterdir()) == []


def test_a_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    listening = open_unix(unix(path), 8)

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        accepted, _ = listening.accept()
        assert user_id_of(accepted) == os.getuid()
        accepted.close()
    close_unix(listening)


def test_a_socket_of_a_living_server_is_not(tmp_path: Path) -> None:
    first = open_unix(unix(tmp_path / "s"), 8)

    with pytest.raises(OSError, match="in use") as refused:
        open_unix(unix(tmp_path / "s"), 8)

    assert refused.value.errno == errno.EADDRINUSE
    close_unix(first)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")

    with pytest.raises(OSError, match="a file that is no socket is in the way"):
        open_unix(unix(tmp_path / "s"), 8)

    assert (tmp_path / "s").read_text() == "mine"


def test_a_group_that_does_not_exist_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="there is no group 'no-such-group'"):
        open_unix(unix(tmp_path / "s", Kind.proxy, "no-such-group"), 8)

    assert list(tmp_path.iterdir()) == []


def test_a_path_that_another_server_has_taken_stays_when_this_one_closes(tmp_path: Path) -> None:
    first = open_unix(unix(tmp_path / "s"), 8)
    (tmp_path / "s").unlink()
    second = open_unix(unix(tmp_path / "s"), 8)

    close_unix(first)

    assert (tmp_path / "s").exists()
    close_unix(second)
    assert not (tmp_path / "s").exists()


def test_a_path_that_is_gone_already_is_no_trouble(tmp_path: Path) -> None:
    listening = open_unix(unix(tmp_path / "s"), 8)
    (tmp_path / "s").unlink()

    close_unix(listening)

    assert listening.fileno() == -1


def test_a_socket_whose_queue_is_full_is_in_use(tmp_path: Path) -> None:
    first = open_unix(unix(tmp_path / "s"), 0)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(str(tmp_path / "s"))

    with pytest.raises(OSError, match="in use"):
        open_unix(unix(tmp_path / "s"), 8)

    for each in waiting:
        each.close()
    close_unix(first)


def test_a_socket_that_cannot_be_opened_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)

    with pytest.raises(PermissionError):
        open_unix(unix(tmp_path / "s"), 8)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uid_map", "uid"),
    [
        ("         0          0 4294967295\n", None),
        ("0 0 1\n", 65534),
        ("0 0 1\n998 998 1\n", 65534),
        ("", 65534),
    ],
)
def test_the_user_id_that_stands_for_hidden_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid_map: str, uid: int | None
) -> None:
    (tmp_path / "uid_map").write_text(uid_map)
    (tmp_path / "overflowuid").write_text("65534\n")
    monkeypatch.setattr(endpoints, "_UID_MAP", tmp_path / "uid_map")
    monkeypatch.setattr(endpoints, "_OVERFLOW_UID", tmp_path / "overflowuid")
    endpoints._stand_in_uid.cache_clear()

    assert endpoints._stand_in_uid() == uid
    endpoints._stand_in_uid.cache_clear()
