"""Control sockets: the file, the lines, and both ends."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from spalloc_server._wire.control_socket import (
    Connection,
    ControlFailed,
    Lines,
    Listener,
    NobodyThere,
    _address,
    ask,
)

#: Bytes of a line, unless told otherwise.
LONGEST = 8192


def echo(line: str) -> str:
    return f"<{line}>"


# --- lines ---


def test_each_whole_line_is_answered_in_order() -> None:
    lines = Lines(echo)

    assert lines.feed(b"one\ntwo\nthr") == b"<one>\n<two>\n"
    assert lines.feed(b"") == b""
    assert lines.feed(b"ee\n\n") == b"<three>\n<>\n"


def test_a_line_may_come_byte_by_byte() -> None:
    lines = Lines(echo)

    assert [lines.feed(bytes([byte])) for byte in b"ab\n"] == [b"", b"", b"<ab>\n"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert Lines(echo).feed(b"\xff\n") == "<\ufffd>\n".encode()


@pytest.mark.parametrize("longest", [LONGEST, 3])
def test_a_line_may_have_so_many_bytes_and_no_more(longest: int) -> None:
    fits = b"x" * longest

    def lines() -> Lines:
        return Lines(echo) if longest == LONGEST else Lines(echo, longest)

    assert lines().feed(fits + b"\n") == b"<" + fits + b">\n"
    assert lines().feed(fits) == b""
    assert lines().feed(fits + b"x\n") is None
    assert lines().feed(fits + b"x") is None  # not even whole
    assert lines().feed(b"a\n" + fits + b"x\n") is None
    grows = lines()
    assert grows.feed(fits) == b""
    assert grows.feed(b"x") is None


# --- the listening end ---


def test_the_file_is_its_owners_alone_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "control"
    listener = Listener(path)

    mode = path.lstat().st_mode
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
    assert not listener.socket.getblocking()
    listener.close()
    assert not path.exists()
    listener.close()


def test_a_socket_of_a_dead_program_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with closing(Listener(path)):
        assert path.exists()


def test_a_living_program_and_other_files_are_in_the_way(tmp_path: Path) -> None:
    path, file = tmp_path / "control", tmp_path / "file"
    file.write_text("mine")

    with closing(Listener(path)), pytest.raises(ControlFailed, match="somebody listens there"):
        Listener(path)
    with pytest.raises(ControlFailed, match="there is something else already"):
        Listener(file)

    assert file.read_text() == "mine"


def test_a_path_through_a_file_and_a_socket_of_another_kind_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ControlFailed, match=r"cannot make the control socket .*: Not a directory"):
        Listener(tmp_path / "file" / "control")

    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(path))
        with pytest.raises(ControlFailed, match=r"cannot make the control socket .*wrong type"):
            Listener(path)
    assert path.exists()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlFailed, match=r"cannot make the control socket .*No such file"):
        Listener(tmp_path / "nowhere" / "control")


def test_a_file_name_has_80_bytes_at_most_and_a_folder_any(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    fits, longer = deep / ("x" * 80), deep / ("x" * 81)

    with closing(Listener(fits)):
        with pytest.raises(ControlFailed, match="is longer than 80 bytes"):
            Listener(longer)
        with pytest.raises(ControlFailed, match="somebody listens there"):
            Listener(fits)
    with pytest.raises(ControlFailed, match="is longer than 80 bytes"):
        ask(longer, "x", "a server")
    assert list(deep.iterdir()) == []


def test_a_file_of_somebody_else_stays_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "control"
    listener = Listener(path)
    path.unlink()
    path.write_text("another's")

    listener.close()

    assert path.read_text() == "another's"


# --- an accepted connection ---


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    connection = Connection(ours, echo, 1 << 20)
    yield connection, theirs
    connection.close()
    theirs.close()


def test_a_connection_answers_goes_on_and_ends(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, theirs = ends

    assert connection.go_on()  # nothing came
    theirs.sendall(b"one\ntw")
    assert connection.go_on()
    assert theirs.recv(100) == b"<one>\n"
    theirs.sendall(b"o\n")
    assert connection.go_on()
    assert theirs.recv(100) == b"<two>\n"
    theirs.shutdown(socket.SHUT_WR)
    assert not connection.go_on()


def test_a_line_that_is_too_long_ends_it() -> None:
    ours, theirs = socket.socketpair()
    with theirs, closing(Connection(ours, echo)) as connection:
        theirs.sendall(b"x" * (LONGEST + 1))

        assert not connection.go_on()


def test_while_an_answer_waits_nothing_more_is_read(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, theirs = ends
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    long = b"x" * 60_000
    theirs.sendall(long + b"\nnext\n")

    assert connection.go_on()
    assert connection.waiting
    theirs.sendall(b"third\n")
    received = b""
    while connection.waiting:
        received += theirs.recv(1 << 20)
        assert connection.go_on()
    while not received.endswith(b"<next>\n"):
        received += theirs.recv(1 << 20)

    assert received == b"<" + long + b">\n<next>\n"
    assert connection.go_on()
    assert theirs.recv(100) == b"<third>\n"


def test_a_connection_whose_other_end_is_gone_is_over(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, theirs = ends
    theirs.sendall(b"one\n")
    theirs.close()

    assert not connection.go_on()


# --- the asking end ---


def answering(path: Path, *answers: bytes) -> threading.Thread:
    """Take one connection, read its line, and send these bytes."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        with listening, listening.accept()[0] as accepted:
            accepted.recv(1 << 16)
            for answer in answers:
                accepted.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("answers", [(b"{}\n",), (b"{", b"}", b"\n"), (b"{}\nmore",)])
def test_the_answer_is_one_line(tmp_path: Path, answers: tuple[bytes, ...]) -> None:
    thread = answering(tmp_path / "control", *answers)

    assert ask(tmp_path / "control", "x", "a server") == b"{}\n"
    thread.join()


@pytest.mark.parametrize("answers", [(), (b"{",)])
def test_an_end_before_the_answer_is_said(tmp_path: Path, answers: tuple[bytes, ...]) -> None:
    thread = answering(tmp_path / "control", *answers)

    with pytest.raises(ControlFailed, match=r"a server at .* went away without an answer"):
        ask(tmp_path / "control", "x", "a server")
    thread.join()


def test_nobody_there_and_nobody_who_answers_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with pytest.raises(NobodyThere, match=r"cannot reach a server at .*: No such file"):
        ask(path, "x", "a server")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        with pytest.raises(NobodyThere, match="Connection refused"):
            ask(path, "x", "a server")
        listening.listen()
        with pytest.raises(ControlFailed, match="timed out") as caught:
            ask(path, "x", "a server", timeout=0.05)
    assert not isinstance(caught.value, NobodyThere)


@pytest.mark.parametrize(("length", "direct"), [(106, True), (107, True), (108, False)])
def test_a_path_is_an_address_if_it_fits(tmp_path: Path, length: int, direct: bool) -> None:
    path = tmp_path / ("x" * (length - len(os.fsencode(tmp_path)) - 1))

    with _address(path) as address:
        assert (address == str(path)) is direct
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address)

    assert path.is_socket()
