"""A server that speaks the protocol for a made-up facility."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from tests.support.facility import Facility
from tests.support.orders import operate

#: The take-over code of every job.
CODE = "code-of-job"
OLD = (
    "version",
    "list_jobs",
    "list_machines",
    "notify_job",
    "notify_machine",
    "get_board_position",
)
NEW = (
    "get_facility",
    "list_boards",
    "list_places",
    "list_job_times",
    "list_queue",
    "get_job_outlook",
    "list_ended_jobs",
    "list_events",
    "notify_events",
    "no_notify_events",
    "operate",
    "destroy_job",
    "get_takeover_code",
    "take_over_job",
    "report_problem",
)


class FakeServer:
    """One server.

    Parameters
    ----------
    facility
        Its content; replace `facility` at will, then `notify`.
    version
        Its answer; below 1.1.0 it has only the old commands, and like the real one
        it disconnects a client that sends another.
    """

    def __init__(self, facility: Facility, version: str = "1.1.0") -> None:
        self.facility = facility
        self.version = version
        self.commands: tuple[str, ...] = OLD + NEW if version >= "1.1.0" else OLD
        self.connections: set[asyncio.StreamWriter] = set()
        self.asked: list[str] = []
        #: Commands that were given for users.
        self.given: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.port = 0
        self._watching: dict[asyncio.StreamWriter, set[str]] = {}
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        for writer in list(self.connections):
            writer.close()
        await self._server.wait_closed()
        while self.connections:
            await asyncio.sleep(0.001)

    async def __aenter__(self) -> FakeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def notify(self) -> None:
        """Send the notifications that changes have caused."""
        notes, self.facility.notes = self.facility.notes, []
        for note in notes:
            word = next(iter(note))
            for writer, words in self._watching.items():
                if word in words:
                    writer.write(json.dumps(note).encode() + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        self._watching[writer] = set()
        try:
            while line := await reader.readline():
                call = json.loads(line)
                if call["command"] not in self.commands:
                    break
                self.asked.append(call["command"])
                if call["kwargs"]:
                    self.given.append(call)
                reply = self._answer(writer, call["command"], call["args"], call["kwargs"])
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.connections.discard(writer)
            self._watching.pop(writer, None)
            writer.close()

    def _answer(
        self, writer: asyncio.StreamWriter, name: str, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        if name in self.answers:
            return self.answers[name]
        facility = self.facility
        plain: dict[str, Any] = {
            "version": lambda: self.version,
            "list_jobs": lambda: list(facility.jobs.values()),
            "list_machines": facility.list_machines,
            "list_boards": facility.list_boards,
            "list_places": facility.list_places,
            "list_job_times": facility.list_job_times,
            "list_queue": facility.list_queue,
            "list_events": facility.list_events,
            "list_ended_jobs": lambda limit: facility.ended[:limit],
            "get_board_position": facility.board_position,
            "operate": lambda order: operate(facility, order, str(kwargs.get("as_user"))),
            "destroy_job": facility.destroy,
            "get_takeover_code": lambda job_id: facility.code_for(kwargs["as_user"], job_id),
            "take_over_job": lambda job_id, code: job_id in facility.jobs and code == CODE,
            "report_problem": lambda *given: f"noted {given[-1]}",
            "get_facility": lambda: {
                "commands": list(self.commands),
                "message": facility.message,
                "accepting": facility.accepting,
                "scheduling": "overtaking",
                "patience": 7200,
                "principal": f"user:{kwargs['as_user']}" if kwargs else "unix:4711",
                "access": "use" if kwargs else "front",
            },
        }
        words = {
            "notify_job": "jobs_changed",
            "notify_machine": "machines_changed",
            "notify_events": "events_until",
        }
        if name in words:
            self._watching[writer].add(words[name])
            return {"return": None}
        try:
            return {"return": plain[name](*args)}
        except ValueError as e:
            return {"exception": str(e)}


@contextlib.asynccontextmanager
async def serving(facility: Facility, version: str = "1.1.0") -> AsyncIterator[FakeServer]:
    """Serve a facility on a free port."""
    async with FakeServer(facility, version) as server:
        yield server
