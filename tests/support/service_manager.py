"""A stand-in for systemd: starts one service, and keeps its descriptors.

``python -m tests.support.service_manager FOLDER`` reads orders from standard input, one a line,
and answers each with a line of JSON.  The service's command is in FOLDER/command, as JSON::

    start            begin the service; answered when it has said READY=1
    stop             SIGTERM, and wait for its end
    kill             SIGKILL, and wait for its end
    empty            close all descriptors in the store
    state            names in the store, and the service's process id

It behaves as sd_notify(3) and sd_listen_fds(3) say: descriptors of ``FDSTORE=1`` are kept under
their name until ``FDSTOREREMOVE=1``, or until they hang up; a started service finds them from
descriptor 3 on.  One thread, so that it may fork.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

_MOST = 4096
_FIRST = 3
_SECONDS = 60.0


class Manager:
    """Keeps one service and its descriptors."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notify = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._notify))
        self._store: list[tuple[str, int]] = []
        self._pid = 0
        self._ready = False

    def serve(self) -> None:
        """Obey orders until there are no more."""
        orders = sys.stdin.buffer
        os.set_blocking(orders.fileno(), False)
        buffer = b""
        while True:
            self._wait([orders.fileno()])
            try:
                data = os.read(orders.fileno(), 4096)
            except BlockingIOError:
                continue
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                answer = getattr(self, f"do_{line.decode()}")()
                print(json.dumps(answer), flush=True)

    # --- orders ---

    def do_start(self) -> Any:
        self._ready = False
        self._hang_ups()
        names, numbers = [name for name, _ in self._store], [fd for _, fd in self._store]
        self._pid = os.fork()
        if not self._pid:
            self._become_service(names, numbers)
        deadline = time.monotonic() + _SECONDS
        while not self._ready:
            if time.monotonic() > deadline or self._ended():
                return {"error": "the service did not start"}
            self._wait([], 0.1)
        return self.do_state()

    def do_stop(self) -> Any:
        return self._end(signal.SIGTERM)

    def do_kill(self) -> Any:
        return self._end(signal.SIGKILL)

    def do_empty(self) -> Any:
        for _, descriptor in self._store:
            os.close(descriptor)
        self._store.clear()
        return self.do_state()

    def do_state(self) -> Any:
        while self._wait([], 0.0):
            pass
        self._hang_ups()
        return {"pid": self._pid, "names": [name for name, _ in self._store]}

    # --- the service ---

    def _become_service(self, names: list[str], numbers: list[int]) -> None:
        high = [os.dup(number) for number in numbers]
        high = [os.dup2(number, 1000 + n) for n, number in enumerate(high)]
        for n, number in enumerate(high):
            os.dup2(number, _FIRST + n, inheritable=True)
        os.closerange(_FIRST + len(high), 8192)
        log = os.open(self._folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(_FIRST + len(high), 8192)
        environment = {**os.environ, "NOTIFY_SOCKET": str(self._notify)}
        if names:
            environment["LISTEN_FDS"] = str(len(names))
            environment["LISTEN_FDNAMES"] = ":".join(names)
            environment["LISTEN_PID"] = str(os.getpid())
        try:
            command = json.loads((self._folder / "command").read_text())
            os.execvpe(command[0], command, environment)
        finally:
            os._exit(127)

    def _end(self, number: int) -> Any:
        os.kill(self._pid, number)
        deadline = time.monotonic() + _SECONDS
        while not self._ended():
            if time.monotonic() > deadline:
                return {"error": "the service did not end"}
            self._wait([], 0.01)
        return self.do_state()

    def _ended(self) -> bool:
        try:
            return os.waitpid(self._pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    # --- its datagrams ---

    def _wait(self, others: list[int], seconds: float | None = None) -> bool:
        """Wait for a datagram or others; returns whether a datagram came."""
        number = self._socket.fileno()
        ready, _, _ = select.select([number, *others], [], [], seconds)
        if number not in ready:
            return False
        space = socket.CMSG_SPACE(16 * array.array("i").itemsize)
        data, ancillary, _, _ = self._socket.recvmsg(1 << 16, space)
        received = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received.frombytes(content)
        told = dict(line.partition("=")[::2] for line in data.decode().splitlines())
        self._take(told, list(received))
        return True

    def _take(self, told: dict[str, str], received: list[int]) -> None:
        name = told.get("FDNAME", "stored")
        if told.get("READY") == "1":
            self._ready = True
        if told.get("FDSTORE") == "1":
            for descriptor in received:
                if len(self._store) < _MOST and not self._has(descriptor):
                    self._store.append((name, descriptor))
                else:
                    os.close(descriptor)
            return
        if told.get("FDSTOREREMOVE") == "1":
            self._drop([fd for each, fd in self._store if each == name])
        for descriptor in received:
            os.close(descriptor)  # of BARRIER=1

    def _has(self, descriptor: int) -> bool:
        inode = os.fstat(descriptor).st_ino
        return any(os.fstat(held).st_ino == inode for _, held in self._store)

    def _hang_ups(self) -> None:
        """Drop descriptors whose other end is gone for good."""
        poll = select.poll()
        for _, descriptor in self._store:
            poll.register(descriptor, 0)
        gone = {fd for fd, event in poll.poll(0) if event & (select.POLLHUP | select.POLLERR)}
        self._drop(list(gone))

    def _drop(self, descriptors: list[int]) -> None:
        self._store = [(name, fd) for name, fd in self._store if fd not in descriptors]
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    Manager(Path(sys.argv[1])).serve()
