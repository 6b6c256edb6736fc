"""``python -m benchmarks.beside``: one client's answers beside others that misbehave.

Another client's ``version`` is timed while 1 and 10 clients send commands without pause, and
while 200 clients send single bytes of a long line; then the server's memory is read while many
clients make it hold as much as they can.  Knows nothing of how a server defends itself.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.load import Wire, request
from benchmarks.processes import Frames, Serving, ours
from benchmarks.sites import Site

#: Commands that clients send without pause.
KINDS = {
    "version": request("version"),
    "where_is": request("where_is", machine="m", x=1, y=1, z=0),
    "cannot be": request("create_job", 100, 100, owner="me"),
    "refused": request("create_job", 3, owner="me", machine="m", tags=["x"]),
    "long line": request("version", [[]] * 250_000),
}
_CHUNK = 64 << 10
_MIB = 1 << 20
#: Seconds between two questions of the client that is timed.
_PAUSE = 0.003


class _Flood:
    """Clients that send one command again and again, and read the answers.  One process."""

    def __init__(self, port: int, count: int, line: bytes) -> None:
        block = line * (_CHUNK // len(line) + 1)
        self._left = {}
        self._sockets = {}
        self._poll = select.epoll()
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port))
            client.setblocking(False)
            self._sockets[client.fileno()] = client
            self._left[client.fileno()] = memoryview(block)
            self._poll.register(client, select.EPOLLIN | select.EPOLLOUT)
        self._block = memoryview(block)

    def run(self) -> None:
        """Never return, but for an error."""
        while True:
            for descriptor, events in self._poll.poll():
                client = self._sockets[descriptor]
                with suppress(BlockingIOError):
                    if events & select.EPOLLIN and not client.recv(1 << 20):
                        return
                    if events & select.EPOLLOUT:
                        left = self._left[descriptor]
                        left = left[client.send(left) :]
                        self._left[descriptor] = left or self._block


@contextmanager
def _flooding(port: int, count: int, kind: str) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.beside", "--flood", str(port), str(count), kind]
    folder = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, cwd=folder) as process:
        try:
            time.sleep(1.0)
            yield
        finally:
            process.kill()


def _milliseconds(port: int, seconds: float) -> list[float]:
    """Ask for the version again and again, and return how long each answer took."""
    line = request("version")
    taken: list[float] = []
    with Wire(port) as wire:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or not taken:
            began = time.perf_counter()
            wire.reply(line)
            taken.append((time.perf_counter() - began) * 1000)
            time.sleep(_PAUSE)
    return taken


def _told(name: str, taken: list[float]) -> dict[str, float]:
    median, most = statistics.median(taken), max(taken)
    words = f"median {median:9.2f} ms, most {most:9.2f} ms, {len(taken)} times"
    print(f"{name:28} {words}", flush=True)
    return {"median_ms": median, "most_ms": most}


def _beside_floods(
    serving: Serving, seconds: float, only: str
) -> Iterator[tuple[str, dict[str, float]]]:
    yield "alone", _told("alone", _milliseconds(serving.port, seconds))
    for kind in KINDS:
        for count in (1, 10):
            name = f"{count} x {kind}"
            if only in name:
                with _flooding(serving.port, count, kind):
                    yield name, _told(name, _milliseconds(serving.port, seconds))


@contextmanager
def _clients(port: int, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(count)
        ]


def _send_all(client: socket.socket, data: bytes) -> None:
    """Send data; a client that was dropped has done its part."""
    with suppress(OSError):
        client.settimeout(20.0)
        client.sendall(data)


def _beside_dribbling(serving: Serving, seconds: float) -> dict[str, float]:
    with _clients(serving.port, 200) as clients:
        for client in clients:
            _send_all(client, b"x" * 1_000_000)
        command = [sys.executable, "-c", _DRIBBLE, *(str(c.fileno()) for c in clients)]
        numbers = [client.fileno() for client in clients]
        with subprocess.Popen(command, pass_fds=numbers) as process:
            try:
                time.sleep(0.5)
                return _told("200 dribble", _milliseconds(serving.port, seconds))
            finally:
                process.kill()


_DRIBBLE = """
import socket, sys, time
clients = [socket.socket(fileno=int(word)) for word in sys.argv[1:]]
for client in clients: client.setblocking(False)
while True:
    for client in clients:
        try: client.send(b"x")
        except OSError: pass
    time.sleep(0.001)
"""


def _unfinished_lines(serving: Serving) -> Iterator[None]:
    with _clients(serving.port, 900) as clients:
        for client in clients:
            _send_all(client, b"x" * (_MIB - 10))
        yield


def _long_names(serving: Serving) -> Iterator[None]:
    octopus = "\N{OCTOPUS}" * 1010
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(serving.port)) for _ in range(10)]
        for number in range(100):
            names = range(100 * number, 100 * number + 100)
            lines = b"".join(request("notify_machine", f"{n:06}{octopus}") for n in names)
            for wire in wires:
                with suppress(OSError):
                    wire.socket.sendall(lines)
                    for _ in names:
                        wire.line()
        yield


def _long_lists(serving: Serving) -> Iterator[None]:
    owner = "\N{OCTOPUS}" * 1024
    with Wire(serving.port) as wire:
        for _ in range(1300):
            wire.call("create_job", owner=owner, keepalive=None, tags=[])
    with _clients(serving.port, 250) as clients:
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            _send_all(client, request("list_jobs"))
        yield


ATTACKS: dict[str, Callable[[Serving], Iterator[None]]] = {
    "900 unfinished lines": _unfinished_lines,
    "10 watch long names": _long_names,
    "250 unread list_jobs": _long_lists,
}


def _memory(folder: Path, site: Site, only: str) -> Iterator[tuple[str, dict[str, float]]]:
    for name, attack in ATTACKS.items():
        if only not in name:
            continue
        with Serving(folder, ours(), site, fpga_wait=0.0) as serving:
            before = serving.rss_mib()
            with contextmanager(attack)(serving):
                time.sleep(1.0)
                after = serving.rss_mib()
                most = _peak_mib(serving.pid)
        print(f"{name:28} {before:6.0f} -> {after:6.0f} MiB, at most {most:6.0f}", flush=True)
        yield name, {"before_mib": before, "after_mib": after, "peak_mib": most}


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(args: Sequence[str] | None = None) -> int:
    """Print how long others wait, and what the server holds.

    Returns
    -------
    int
        Exit status: 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file")
    parser.add_argument("--only", metavar="WORD", default="", help="of the names (all)")
    parser.add_argument("--flood", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.flood:
        port, count, kind = options.flood
        _Flood(int(port), int(count), KINDS[kind]).run()
        return 0
    site = Site.of(4, 4)
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="spalloc-beside-") as name:
        folder = Path(name)
        with Frames(folder, site):
            with Serving(folder, ours(), site, fpga_wait=0.0) as serving:
                figures.update(_beside_floods(serving, options.seconds, options.only))
                if options.only in "200 dribble":
                    figures["200 dribble"] = _beside_dribbling(serving, options.seconds)
            figures.update(_memory(folder, site, options.only))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
