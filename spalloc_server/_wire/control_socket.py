"""Control sockets: a line of text in, a line of JSON out, for the owner alone.

Owns the Unix socket's file and both ends' framing. Must not know the meaning of the lines.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

_MAX_LINE = 8192  # bytes, unless told otherwise; far longer than any of the simulator's
_MAX_PATH = 107  # bytes that fit into a Unix socket's address
_MAX_NAME = 80  # of these, for the file itself; the rest names its folder
_RECEIVE = 65536


class ControlFailed(Exception):  # noqa: N818 - names the event
    """The control socket cannot be made or reached; its text says why."""


class NobodyThere(ControlFailed):
    """Nobody listens at a control socket."""


class Listener:
    """A listening Unix socket with its file, which only its owner may use.

    Parameters
    ----------
    path : Path
        Where; a socket left there by a program that is gone is replaced.

    Raises
    ------
    ControlFailed
        If something else is there, somebody listens there, or it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _check_length(path)
        _remove_stale(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.setblocking(False)
            # The file gets the mode of the unbound socket, so that it never exists with another.
            os.fchmod(self.socket.fileno(), 0o600)
            with _address(path) as address:
                self.socket.bind(address)
            self.socket.listen()
            self._inode = path.lstat().st_ino
        except OSError as error:
            self.socket.close()
            raise ControlFailed(
                f"cannot make the control socket {path}: {error.strerror}"
            ) from error

    def close(self) -> None:
        """Stop listening and remove the file, if it is still this socket's and the disk lets us.

        One that stays is replaced by the next program that listens there.
        """
        self.socket.close()
        with contextlib.suppress(OSError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()


def _check_length(path: Path) -> None:
    if len(os.fsencode(path.name)) > _MAX_NAME:
        raise ControlFailed(
            f"the file name of the control socket is longer than {_MAX_NAME} bytes: {path}"
        )


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give a path as a socket's address, which must be short however deep the folder is."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ControlFailed(f"cannot make the control socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise ControlFailed(
            f"cannot make the control socket {path}: there is something else already"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            with _address(path) as address:
                probe.connect(address)
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise ControlFailed(
                f"cannot make the control socket {path}: {error.strerror}"
            ) from error
    raise ControlFailed(f"cannot make the control socket {path}: somebody listens there already")


class Lines:
    """Framing of one connection: bytes in, answers' bytes out.

    Parameters
    ----------
    answer : callable
        (line) -> answer's line, both without a newline.
    max_line : int
        Bytes that a line may have.
    """

    def __init__(self, answer: Callable[[str], str], max_line: int = _MAX_LINE) -> None:
        self._answer = answer
        self._max_line = max_line
        self._received = b""

    def feed(self, data: bytes) -> bytes | None:
        """Take received bytes.

        Parameters
        ----------
        data : bytes
            Any piece of the stream.

        Returns
        -------
        bytes or None
            Answers to the lines that are complete; None if a line is too long, and the
            connection is to be closed.
        """
        *lines, self._received = (self._received + data).split(b"\n")
        if any(len(line) > self._max_line for line in (*lines, self._received)):
            return None
        answers = [self._answer(line.decode("utf-8", "replace")) for line in lines]
        return "".join(f"{answer}\n" for answer in answers).encode()


class Connection:
    """One connection to the control socket, non-blocking.

    Parameters
    ----------
    accepted : socket
        Closed by `close`.
    answer, max_line
        As of `Lines`.

    Attributes
    ----------
    socket : socket
    waiting : bytes
        Answers that the kernel has not taken yet; while there are some, nothing is read.
    """

    def __init__(
        self, accepted: socket.socket, answer: Callable[[str], str], max_line: int = _MAX_LINE
    ) -> None:
        self.socket = accepted
        self.socket.setblocking(False)
        self.waiting = b""
        self._lines = Lines(answer, max_line)

    def go_on(self) -> bool:
        """Send the waiting output, else read and answer.

        Returns
        -------
        bool
            False if the connection is over.
        """
        try:
            if not self.waiting:
                data = self.socket.recv(_RECEIVE)
                answers = self._lines.feed(data) if data else None
                if answers is None:
                    return False
                self.waiting = answers
            if self.waiting:
                self.waiting = self.waiting[self.socket.send(self.waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            return False  # the other side went away
        return True

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def ask(path: Path, line: str, whom: str, timeout: float = 10.0) -> bytes:
    """Send one line to a running program, and return its answer.

    Parameters
    ----------
    path : Path
        Its control socket.
    line : str
        Without newline.
    whom : str
        The program's name, for errors.
    timeout : float
        Seconds to wait for each step.

    Returns
    -------
    bytes
        One line.

    Raises
    ------
    ControlFailed
        If nobody answers there; `NobodyThere` if nobody listens.
    """
    _check_length(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            with _address(path) as address:
                connection.connect(address)
            connection.sendall(f"{line}\n".encode())
            with connection.makefile("rb") as stream:
                reply = stream.readline()
        except OSError as error:
            nobody = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
            raise (NobodyThere if nobody else ControlFailed)(
                f"cannot reach {whom} at {path}: {error.strerror or error}"
            ) from error
    if not reply.endswith(b"\n"):
        raise ControlFailed(f"{whom} at {path} went away without an answer")
    return reply
