"""Descriptors go into the service manager's store in order, and nobody waits for it."""

from __future__ import annotations

import array
import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server._wire import fd_store as fd_store_module
from spalloc_server._wire.fd_store import FdStore, Inherited, take_inherited


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        yield manager


@pytest.fixture
def store(manager: socket.socket) -> Iterator[FdStore]:
    store = FdStore(str(manager.getsockname()))
    yield store
    store.close()


def received(manager: socket.socket) -> tuple[bytes, int]:
    """Return a datagram, and how many descriptors came with it."""
    data, ancillary, _, _ = manager.recvmsg(1000, socket.CMSG_SPACE(64))
    numbers = array.array("i")
    for _, _, content in ancillary:
        numbers.frombytes(content)
    for number in numbers:
        os.close(number)
    return data, len(numbers)


def test_descriptors_are_kept_and_removed_by_name(
    store: FdStore, manager: socket.socket
) -> None:
    here, there = socket.socketpair()
    with here, there:
        store.keep("c1", [here.fileno(), there.fileno()])
        assert store
        assert store.flush()
        store.remove("c1")
        assert store.flush()

    assert received(manager) == (b"FDSTORE=1\nFDNAME=c1\n", 2)
    assert received(manager) == (b"FDSTOREREMOVE=1\nFDNAME=c1\n", 0)
    assert not store


def test_a_manager_that_does_not_read_holds_nobody_up(
    store: FdStore, manager: socket.socket
) -> None:
    for number in range(1000):
        store.keep(f"c{number}", [manager.fileno()])
    assert not store.flush()
    assert store

    for number in range(1000):
        store.flush()
        assert received(manager) == (b"FDSTORE=1\nFDNAME=c%d\n" % number, 1)

    assert store.flush()


def test_what_is_removed_is_sent_no_more(store: FdStore, manager: socket.socket) -> None:
    with socket.socket() as gone:
        store.keep("c1", [gone.fileno()])
        store.keep("c2", [manager.fileno()])
        store.remove("c1")
        store.flush()

    assert received(manager) == (b"FDSTORE=1\nFDNAME=c2\n", 1)
    assert received(manager) == (b"FDSTOREREMOVE=1\nFDNAME=c1\n", 0)


def test_the_last_words_wait_for_some_time_only(
    store: FdStore, manager: socket.socket
) -> None:
    for number in range(1000):
        store.keep(f"c{number}", [manager.fileno()])

    assert store.flush_for(0.01) is False


def test_a_manager_that_is_gone_is_told_of_once(
    store: FdStore, manager: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notify").unlink()
    for _ in range(3):
        store.keep("c1", [manager.fileno()])

    assert store.flush()

    assert caplog.text.count("the service manager keeps no connections") == 1


def test_an_abstract_address_is_understood(manager: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0spalloc-test-{os.getpid()}")
        store = FdStore(f"@spalloc-test-{os.getpid()}")
        store.remove("c1")
        assert store.flush()
        assert abstract.recv(100) == b"FDSTOREREMOVE=1\nFDNAME=c1\n"
        store.close()


def test_inherited_descriptors_are_taken_once_and_closed_in_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = os.dup(1)
    os.set_inheritable(first, True)
    monkeypatch.setattr(fd_store_module, "_FIRST", first)
    environ = {
        "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "c1", "HOME": "/",
    }  # fmt: skip

    found = take_inherited(environ)

    assert found == [Inherited("c1", first)]
    assert not os.get_inheritable(first)
    assert environ == {"HOME": "/"}
    assert take_inherited(environ) == []
    os.close(first)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"},
        {"LISTEN_PID": str(os.getpid())},
    ],
)
def test_what_is_meant_for_others_is_not_taken(environ: dict[str, str]) -> None:
    assert take_inherited(environ) == []
    assert not environ


def test_a_descriptor_that_is_not_there_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fd_store_module, "_FIRST", 900_000)

    assert take_inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}) == []

    assert caplog.text.count("was promised and is not there") == 2


def reads(manager: socket.socket, keeps: bool) -> threading.Thread:
    """Have a manager read three datagrams, and keep their descriptors or close them."""

    def run() -> None:
        held = []
        for _ in range(2):
            data, ancillary, _, _ = manager.recvmsg(1000, socket.CMSG_SPACE(64))
            ((_, _, content),) = ancillary
            (number,) = array.array("i", content)
            if keeps and data.startswith(b"FDSTORE=1"):
                held.append(number)
            else:
                os.close(number)
        assert manager.recv(1000) == b"FDSTOREREMOVE=1\nFDNAME=trial\n"
        for number in held:
            os.close(number)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("keeps", [True, False])
def test_a_manager_is_asked_whether_it_keeps_descriptors(
    store: FdStore, manager: socket.socket, keeps: bool
) -> None:
    thread = reads(manager, keeps)

    taken = store.takes_descriptors(20)
    assert store.flush()

    thread.join()
    assert taken is keeps


def test_a_manager_that_does_not_answer_is_trusted(store: FdStore, manager: socket.socket) -> None:
    assert store.takes_descriptors(0.01)
    for number in range(1000):
        store.keep(f"c{number}", [manager.fileno()])
    assert store.flush_for(0.01) is False
    assert store.takes_descriptors(0.01)


@pytest.mark.parametrize("pipes", [0, 1])
def test_a_question_without_descriptors_leaves_none_open(
    store: FdStore, monkeypatch: pytest.MonkeyPatch, pipes: int
) -> None:
    made: list[int] = []
    pipe = os.pipe

    def scarce() -> tuple[int, int]:
        if len(made) == 2 * pipes:
            raise OSError(errno.EMFILE, "Too many open files")
        made.extend(pipe())
        return made[-2], made[-1]

    monkeypatch.setattr(os, "pipe", scarce)

    with pytest.raises(OSError, match="Too many open files"):
        store.takes_descriptors(0.01)

    for number in made:
        with pytest.raises(OSError):
            os.fstat(number)


def test_descriptors_on_their_way_to_the_manager_are_waited_for(
    store: FdStore, manager: socket.socket
) -> None:
    class Full(socket.socket):
        def sendmsg(self, *_: object) -> int:
            raise OSError(errno.ETOOMANYREFS, "Too many references")

    with Full(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        usual, store._socket = store._socket, full
        store.keep("c1", [manager.fileno()])

        assert store.flush() is False

        store._socket = usual
    assert store.flush()
    assert received(manager) == (b"FDSTORE=1\nFDNAME=c1\n", 1)


def test_descriptors_are_numbered_from_three_on_and_may_lack_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "set_inheritable", lambda *call: closed.append(call))

    found = take_inherited(
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "4", "LISTEN_FDNAMES": "c1:l2"}
    )

    assert found == [Inherited("c1", 3), Inherited("l2", 4), Inherited("", 5), Inherited("", 6)]
    assert closed == [(number, False) for number in (3, 4, 5, 6)]
