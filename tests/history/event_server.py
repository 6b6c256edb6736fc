"""A server that tells events, as far as a follower sees of one."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any


class EventServer:
    """Answers one client at a time from lists that the test fills.

    Attributes
    ----------
    version : str
    commands : list of str
        As of ``get_facility``.
    events, jobs, ended : list of dict
    keep_names_days : int or None
    lost_before : int
        Events up to this number are no more.
    asked : list of (str, list)
        The commands that came.
    connections : int
        How many clients came.
    """

    def __init__(self) -> None:
        self.version = "1.1.0"
        self.commands = ["list_events", "notify_events", "list_ended_jobs"]
        self.events: list[dict[str, Any]] = []
        self.jobs: list[dict[str, Any]] = []
        self.ended: list[Any] = []
        self.keep_names_days: int | None = None
        self.lost_before = 0
        self.most = 1000
        self.asked: list[tuple[str, list[Any]]] = []
        self.connections = 0
        self.heard = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._client: socket.socket | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="events")

    def __enter__(self) -> EventServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped = True
        self.drop()
        # Wakes the thread from its wait for a client.
        with socket.create_connection(self.address):
            self._thread.join()
        self._listener.close()

    def drop(self) -> None:
        """Lose the connection."""
        client = self._client
        if client is not None:
            with suppress(OSError):  # it may be gone already
                client.shutdown(socket.SHUT_RDWR)

    def say(self, message: object) -> None:
        """Tell the client something unasked."""
        assert self._client is not None
        self._client.sendall(json.dumps(message).encode() + b"\n")

    def wait_for(self, command: str, times: int) -> None:
        """Wait until a command has come so often."""
        with self.heard:
            came = self.heard.wait_for(
                lambda: sum(name == command for name, _ in self.asked) >= times, 30
            )
        assert came, self.asked

    def _run(self) -> None:
        while not self._stopped:
            client, _ = self._listener.accept()
            with client, client.makefile("rb") as lines:
                if self._stopped:
                    return
                self._client = client
                self.connections += 1
                # A client that goes away with answers unread resets the connection.
                with suppress(ConnectionResetError):
                    for line in lines:
                        self._answer(client, json.loads(line))
                self._client = None

    def _answer(self, client: socket.socket, request: dict[str, Any]) -> None:
        name, args = request["command"], request["args"]
        answer = getattr(self, f"_{name}")(*args)
        try:
            client.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            return
        with self.heard:
            self.asked.append((name, args))
            self.heard.notify_all()

    def _version(self) -> Any:
        return {"return": self.version}

    def _get_facility(self) -> Any:
        return {"return": {"commands": self.commands, "keep_names_days": self.keep_names_days}}

    def _notify_events(self) -> Any:
        return {"return": None}

    def _list_jobs(self) -> Any:
        return {"return": self.jobs}

    def _list_ended_jobs(self, limit: int) -> Any:
        return {"return": self.ended[:limit]}

    def _list_events(self, after: int, limit: int) -> Any:
        first = max(after, self.lost_before)
        found = [event for event in self.events if event["number"] > first]
        found = found[: min(limit, self.most)]
        lost = after < self.lost_before
        return {
            "return": {
                "events": found,
                "next": found[-1]["number"] if found else after,
                "lost": lost,
            }
        }
