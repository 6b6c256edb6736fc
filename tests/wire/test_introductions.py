"""Connections that are introduced by a header or by a user's name."""

from __future__ import annotations

import os
import pwd
import socket
import threading
from collections.abc import Iterator

import pytest

from spalloc_server._access.identity import Identity, parse_address
from spalloc_server._access.proxy_header import MAX_HEADER, SECONDS_FOR_HEADER
from spalloc_server._wire import introductions
from spalloc_server._wire.introductions import Introduced, LocalUsers, ProxyHeaders, UserNames
from tests.access.test_proxy_header import IPV4, header, tls

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_header_in_pieces_introduces_with_the_bytes_behind_it(pair: Pair) -> None:
    ours, theirs = pair
    headers = ProxyHeaders()
    headers.add(ours, 0.0)
    data = header(IPV4 + tls(b"ada"))

    assert headers.read(ours) is None
    theirs.sendall(data[:20])
    assert headers.read(ours) is None
    assert ours in headers
    theirs.sendall(data[20:] + b"{}\n")

    who = Identity(parse_address("192.0.2.7"), certificate="ada")
    assert headers.read(ours) == Introduced(ours, who, b"{}\n")
    assert ours not in headers


def test_anything_else_is_a_fault(pair: Pair) -> None:
    ours, theirs = pair
    headers = ProxyHeaders()
    headers.add(ours, 0.0)
    theirs.sendall(b'{"command": "version"}\n')

    introduced = headers.read(ours)

    assert introduced is not None
    assert introduced.identity is None
    assert "does not begin with a PROXY protocol header" in introduced.fault


def test_a_header_that_is_too_long_is_not_read_on(pair: Pair) -> None:
    ours, theirs = pair
    headers = ProxyHeaders()
    headers.add(ours, 0.0)
    theirs.sendall(header(IPV4)[:14] + MAX_HEADER.to_bytes(2, "big") + bytes(MAX_HEADER))

    introduced = headers.read(ours)

    assert introduced is not None
    assert "at most 4096" in introduced.fault


def test_connections_that_end_or_break_are_let_go(pair: Pair) -> None:
    ours, theirs = pair
    headers = ProxyHeaders()
    headers.add(ours, 0.0)
    theirs.close()
    assert headers.read(ours) == Introduced(ours, None)

    headers.add(ours, 0.0)
    ours.close()
    assert headers.read(ours) == Introduced(ours, None)


def test_the_slow_are_late_and_the_oldest_makes_room(
    monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    monkeypatch.setattr(introductions, "MAX_WAITING", 1)
    headers = ProxyHeaders()
    assert headers.next_due() is None

    assert headers.add(pair[0], 10.0) is None
    assert headers.add(pair[1], 11.0) is pair[0]

    assert headers.next_due() == 10.0 + SECONDS_FOR_HEADER
    assert headers.late(10.0 + SECONDS_FOR_HEADER) == [pair[0]]
    headers.forget(pair[0])
    assert list(headers.drain()) == [pair[1]]
    assert not headers.waiting


def looked_up(names: UserNames, uid: int, woken: threading.Event) -> str | None:
    known, name = names.ask(uid, 0.0)
    if not known:
        assert woken.wait(20)
        woken.clear()
        for thread in threading.enumerate():
            if thread.name == "user-names":
                thread.join()
        known, name = names.ask(uid, 0.0)
    assert known
    return name


def test_a_users_name_is_looked_up_once_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    woken = threading.Event()
    names = UserNames(woken.set)

    assert looked_up(names, os.getuid(), woken) == pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pytest.fail("asked again"))
    assert names.ask(os.getuid(), 1.0)[0]


def test_a_user_without_name_is_known_by_the_number(pair: Pair) -> None:
    woken = threading.Event()
    users = LocalUsers(UserNames(woken.set))
    users.add(pair[0], 4_000_000_000, 0.0)

    first = users.introduced(0.0)
    assert woken.wait(20)
    second = users.introduced(0.0)

    assert (first, second) == ([], [Introduced(pair[0], Identity(uid=4_000_000_000))])
    for thread in threading.enumerate():
        if thread.name == "user-names":
            thread.join()


def test_a_directory_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    answer = threading.Event()

    def slow(_: int) -> object:
        answer.wait(20)
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", slow)
    users = LocalUsers(UserNames(lambda: None))
    users.add(pair[0], 7, 0.0)
    users.add(pair[1], 7, 1.0)

    assert users.introduced(1.0) == []
    assert users.next_due() == SECONDS_FOR_HEADER
    assert users.introduced(SECONDS_FOR_HEADER) == [Introduced(pair[0], Identity(uid=7))]
    assert list(users.drain()) == [pair[1]]
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "user-names":
            thread.join()


def test_a_users_name_is_looked_up_again_after_five_minutes() -> None:
    woken = threading.Event()
    names = UserNames(woken.set)
    names._names[os.getuid()] = "before", 1000.0
    assert names.ask(os.getuid(), 1299.9) == (True, "before")

    assert names.ask(os.getuid(), 1300.0) == (False, None)

    assert woken.wait(20)
    for thread in threading.enumerate():
        if thread.name == "user-names":
            thread.join()
    assert names.ask(os.getuid(), 1300.0) == (True, pwd.getpwuid(os.getuid()).pw_name)
