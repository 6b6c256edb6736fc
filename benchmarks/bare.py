"""``python -m benchmarks.bare CONFIG --port PORT``: a server that does nothing.

A loop in Python of epoll, one receive and one send; no parsing.  What it does not reach, no
server of this kind can under the same load: the rest is the kernel's, and the load's own.
"""

from __future__ import annotations

import argparse
import select
import socket
import sys
from collections.abc import Sequence

#: What commands are answered, by a word in their line; all others as `version` is.
_ANSWERS = {
    b'"create_job"': b'{"return": 1}\n',
    b'"destroy_job"': b'{"return": null}\n',
    b'"list_jobs"': b'{"return": []}\n',
    b'"notify_job"': b'{"return": null}\n',
}
_VERSION = b'{"return": "1.0.0"}\n'
#: After which commands everybody else is told of a change.
_CHANGES = (b'"create_job"', b'"destroy_job"')
_TOLD = b'{"jobs_changed": [1]}\n'


def main(args: Sequence[str] | None = None) -> int:
    """Serve until the process is killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("--port", type=int, required=True)
    options, _ = parser.parse_known_args(args)
    with socket.create_server(("127.0.0.1", options.port), backlog=4096) as listening:
        _serve(listening)
    return 0


def _serve(listening: socket.socket) -> None:
    poll = select.epoll()
    poll.register(listening.fileno(), select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    told: set[socket.socket] = set()
    while True:
        for descriptor, _ in poll.poll(-1, len(clients) + 1):
            if descriptor == listening.fileno():
                client, _ = listening.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client
                poll.register(client.fileno(), select.EPOLLIN)
                continue
            client = clients[descriptor]
            data = client.recv(1 << 16)
            if not data:
                poll.unregister(descriptor)
                told.discard(clients.pop(descriptor))
                client.close()
                continue
            lines = data.count(b"\n")
            client.sendall(_answer(data) * lines)
            if b'"notify_job"' in data:
                told.add(client)
            elif told and any(word in data for word in _CHANGES):
                for watcher in told:
                    watcher.send(_TOLD)


def _answer(line: bytes) -> bytes:
    """Return what a line is answered, without reading more of it than need be."""
    if b'"version"' in line:
        return _VERSION
    return next((answer for word, answer in _ANSWERS.items() if word in line), _VERSION)


if __name__ == "__main__":
    sys.exit(main())
