"""The control socket's file and framing."""

import json
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from spalloc_server._simulator.control import ControlFailed, Lines, Listener, ask


def _shout(line: str) -> str:
    return line.upper()


@pytest.mark.parametrize("stream", [b"", b"a", b"a\n", b"a\nbc\n", b"a\n\nbc\nd", b"\xff\n"])
def test_lines_are_answered_whole_or_byte_by_byte(stream: bytes) -> None:
    whole, bytewise = Lines(_shout), Lines(_shout)

    at_once = whole.feed(stream)
    pieces = [bytewise.feed(bytes([byte])) for byte in stream]

    complete = stream[: stream.rfind(b"\n") + 1].decode("utf-8", "replace").upper()
    assert at_once == complete.encode()
    assert b"".join(piece for piece in pieces if piece is not None) == at_once


def test_a_line_that_does_not_end_is_too_long() -> None:
    lines = Lines(_shout)

    assert lines.feed(b"a" * 8192) == b""
    assert lines.feed(b"a") is None
    assert Lines(_shout).feed(b"a" * 8193 + b"\n") is None


def test_only_the_owner_may_use_the_socket(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listener = Listener(tmp_path / "control")
    finally:
        os.umask(before)

    mode = (tmp_path / "control").stat().st_mode
    listener.close()
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_the_file_goes_with_the_socket(tmp_path: Path) -> None:
    Listener(tmp_path / "control").close()

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_longer_the_sockets_stays(tmp_path: Path) -> None:
    path = tmp_path / "control"
    listener = Listener(path)
    path.rename(tmp_path / "kept")  # so that its inode is not used again
    path.write_text("precious")

    listener.close()

    assert path.read_text() == "precious"


def test_a_socket_of_a_program_that_is_gone_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))

    Listener(path).close()

    assert not path.exists()


def test_a_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control"
    listener = Listener(path)
    try:
        with pytest.raises(ControlFailed, match="somebody listens there already"):
            Listener(path)

        assert path.is_socket()
    finally:
        listener.close()


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control"
    path.write_text("precious")

    with pytest.raises(ControlFailed, match="something else"):
        Listener(path)

    assert path.read_text() == "precious"


def test_a_place_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ControlFailed, match="No such file or directory"):
        Listener(tmp_path / "nowhere" / "control")


def test_a_file_name_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 81)

    with pytest.raises(ControlFailed, match="longer than 80 bytes"):
        Listener(path)
    with pytest.raises(ControlFailed, match="longer than 80 bytes"):
        ask(path, "power")


def test_a_folder_may_be_as_deep_as_it_likes(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    path = folder / "control"

    listener = Listener(path)
    try:
        with pytest.raises(ControlFailed, match="somebody listens there already"):
            Listener(path)
        with pytest.raises(ControlFailed, match="timed out"):
            ask(path, "power", timeout=0.01)
        assert path.is_socket()
    finally:
        listener.close()
    assert not path.exists()


def test_nobody_there_to_ask(tmp_path: Path) -> None:
    with pytest.raises(ControlFailed, match="cannot reach a simulation at"):
        ask(tmp_path / "control", "power")


@pytest.mark.parametrize("answer", [b"", b'{"ok": true'])
def test_a_simulation_that_goes_away(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "control"
    listener = Listener(path)
    listener.socket.setblocking(True)

    def go_away() -> None:
        accepted, _ = listener.socket.accept()
        with accepted:
            accepted.recv(100)
            accepted.sendall(answer)

    thread = threading.Thread(target=go_away)
    thread.start()
    try:
        with pytest.raises(ControlFailed, match="went away without an answer"):
            ask(path, "power")
    finally:
        thread.join()
        listener.close()


def test_one_line_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "control"
    listener = Listener(path)
    listener.socket.setblocking(True)
    heard = []

    def answer() -> None:
        accepted, _ = listener.socket.accept()
        with accepted:
            heard.append(accepted.recv(100))
            accepted.sendall(json.dumps({"ok": True, "text": "t", "data": [1]}).encode() + b"\n")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        assert ask(path, " bmp1\n  mute ") == (True, "t", [1])
    finally:
        thread.join()
        listener.close()
    assert heard == [b"bmp1 mute\n"]
