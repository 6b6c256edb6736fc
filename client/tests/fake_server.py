"""A small server that speaks the protocol, and misbehaves when told to.

It is no allocator: jobs get the boards that a test gives them. Commands it has heard can
be waited for, so that no test needs to sleep.
"""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

MACHINE: dict[str, Any] = {
    "name": "demo",
    "tags": ["default", "fast"],
    "width": 4,
    "height": 3,
    "dead_boards": [[1, 1, 2], [3, 2, 1]],
    "dead_links": [[0, 0, 0, 2], [2, 1, 1, 0], [2, 0, 0, 1]],
}
SMALL: dict[str, Any] = {
    "name": "little",
    "tags": ["desk"],
    "width": 1,
    "height": 1,
    "dead_boards": [[0, 0, 1], [0, 0, 2]],
    "dead_links": [],
}

#: Commands that servers have always had, and those that came with 1.1.0.
OLD_COMMANDS = frozenset(
    """
    version create_job job_keepalive get_job_state get_job_machine_info power_on_job_boards
    power_off_job_boards destroy_job notify_job no_notify_job notify_machine no_notify_machine
    list_jobs list_machines get_board_position get_board_at_position where_is
    """.split()  # noqa: SIM905 (a list of strings takes a page)
)
NEW_COMMANDS = frozenset(
    """
    get_facility list_boards list_queue get_job_outlook report_problem list_ended_jobs
    list_events notify_events no_notify_events get_takeover_code take_over_job operate
    list_places list_job_times
    """.split()  # noqa: SIM905
)

#: Returned by a behaviour instead of an answer.
HANG = object()  # never answer this
VANISH = object()  # close the connection
GARBAGE = object()  # answer something that is no JSON


class FakeServer:
    """Listens on a free port of 127.0.0.1; `behave[command]` replaces its answers."""

    def __init__(
        self,
        version: str = "1.0.0",
        context: ssl.SSLContext | None = None,
        path: str | None = None,
    ) -> None:
        self.version = version
        self._context = context  # for TLS
        self._path = path  # of a Unix socket, in place of a port
        self.codes: dict[int, str] = {}
        self.commands = set(OLD_COMMANDS)
        if version == "1.1.0":
            self.commands |= NEW_COMMANDS
        self.message: str | None = None
        self.scheduling = "overtaking"
        #: By machine and board: the state, and the text that goes with it.
        self.board_states: dict[tuple[str, tuple[int, int, int]], tuple[str, str | None]] = {}
        #: By job: the members of its outlook that are not worked out here.
        self.outlooks: dict[int, dict[str, Any]] = {}
        self.machines = [MACHINE, SMALL]
        self.jobs: dict[int, dict[str, Any]] = {}
        self.reasons: dict[int, str | None] = {}
        self.instant = True  # new jobs are ready at once
        self.behave: dict[str, Callable[..., Any]] = {}
        self.heard: list[tuple[str, list[Any], dict[str, Any]]] = []
        self._news = threading.Condition()  # guards all of the above and _clients
        self._clients: list[_Client] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.port = 0
        self.start()

    # --- for tests ---

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        if self._path is not None:
            Path(self._path).unlink(missing_ok=True)
            self._listener = socket.create_server(self._path, family=socket.AF_UNIX)
        else:
            self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
            self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Stop listening and close all connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_clients()

    def drop_clients(self) -> None:
        """Close all connections."""
        with self._news:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    def close(self) -> None:
        """Stop, and wait for all threads."""
        if self._listener.fileno() != -1:
            self.stop()
        for thread in self._threads:
            thread.join()

    def wait_heard(self, name: str, times: int = 1) -> list[tuple[list[Any], dict[str, Any]]]:
        """Wait until a command has come so often; returns its arguments each time."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.calls(name)) >= times, 30), self.heard
            return self.calls(name)

    def calls(self, name: str) -> list[tuple[list[Any], dict[str, Any]]]:
        """Return the arguments of all commands of that name so far."""
        return [(args, kwargs) for heard, args, kwargs in list(self.heard) if heard == name]

    def wait_connections(self, times: int) -> None:
        """Wait until so many connections have been made."""
        with self._news:
            assert self._news.wait_for(lambda: self.connections >= times, 30)

    def wait_clients(self, number: int) -> None:
        """Wait until exactly so many connections are open."""
        with self._news:
            assert self._news.wait_for(lambda: len(self._clients) == number, 30)

    def add_job(self, **changes: Any) -> int:
        """Make a job as list_jobs tells it; returns its id."""
        with self._news:
            job_id = max([0, *self.jobs, *self.reasons]) + 1
            self.jobs[job_id] = {
                "job_id": job_id,
                "owner": "me@example.org",
                "start_time": 1_700_000_000.0,
                "keepalive": 60.0,
                "state": 3,
                "power": True,
                "args": [1],
                "kwargs": {},
                "allocated_machine_name": "demo",
                "boards": [[0, 0, 0]],
                "keepalivehost": "127.0.0.1",
                **changes,
            }
            return job_id

    def change(self, job_id: int, **changes: Any) -> None:
        """Change a job and tell everybody."""
        with self._news:
            self.jobs[job_id].update(changes)
        self.tell({"jobs_changed": [job_id]})

    def destroy(self, job_id: int, reason: str | None) -> None:
        """End a job and tell everybody."""
        with self._news:
            self.jobs.pop(job_id, None)
            self.reasons[job_id] = reason
        self.tell({"jobs_changed": [job_id]})

    def tell(self, notification: Any) -> None:
        """Send something unasked to all clients."""
        with self._news:
            clients = list(self._clients)
        for client in clients:
            client.send(json.dumps(notification).encode() + b"\n")

    # --- the protocol ---

    def answer(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Answer a command, as told or as a server does."""
        if name in self.behave:
            return self.behave[name](*args, **kwargs)
        if name not in self.commands:
            return VANISH
        method = getattr(self, f"do_{name}", None)
        return None if method is None else method(*args, **kwargs)

    def do_version(self) -> str:
        return self.version

    def do_create_job(self, *args: int, **kwargs: Any) -> int:
        rest = {k: v for k, v in kwargs.items() if k not in {"owner", "keepalive"}}
        ready: dict[str, Any] = {}
        if not self.instant:
            ready = {"state": 1, "power": None, "allocated_machine_name": None, "boards": None}
        return self.add_job(
            owner=kwargs["owner"],
            keepalive=kwargs.get("keepalive", 60.0),
            args=list(args),
            kwargs=rest,
            **ready,
        )

    def do_get_job_state(self, job_id: int) -> dict[str, Any]:
        job = self.jobs.get(job_id)
        state = {"state": 4 if job_id in self.reasons else 0}
        empty = {"power": None, "keepalive": None, "start_time": None, "keepalivehost": None}
        if job is None:
            return {**state, **empty, "reason": self.reasons.get(job_id)}
        keys = ("state", "power", "keepalive", "start_time", "keepalivehost")
        return {**{key: job[key] for key in keys}, "reason": None}

    def do_get_job_machine_info(self, job_id: int) -> dict[str, Any]:
        job = self.jobs.get(job_id)
        if job is None or job["boards"] is None:
            return dict.fromkeys(("width", "height", "connections", "machine_name", "boards"))
        chips = [[12 * x + z, 12 * y + z] for x, y, z in job["boards"]]
        return {
            "width": 8,
            "height": 8,
            "connections": [[chip, f"board-{n}"] for n, chip in enumerate(chips)],
            "machine_name": job["allocated_machine_name"],
            "boards": job["boards"],
        }

    def do_power_on_job_boards(self, job_id: int) -> None:
        self.jobs[job_id].update(power=True, state=3)

    def do_power_off_job_boards(self, job_id: int) -> None:
        self.jobs[job_id].update(power=False, state=3)

    def do_destroy_job(self, job_id: int, reason: str | None = None) -> None:
        if job_id in self.jobs:
            self.destroy(job_id, reason)

    def do_list_jobs(self) -> list[Any]:
        return list(self.jobs.values())

    def do_list_machines(self) -> list[Any]:
        return self.machines

    # --- the protocol from 1.1.0 on ---

    def do_get_facility(self) -> dict[str, Any]:
        return {
            "commands": sorted(self.commands),
            "message": self.message,
            "accepting": True,
            "scheduling": self.scheduling,
            "patience": 7200.0,
        }

    def do_list_boards(self, machine_name: str) -> dict[str, Any] | None:
        machine = next((m for m in self.machines if m["name"] == machine_name), None)
        if machine is None:
            return None
        rows: list[list[Any]] = []
        users = {
            tuple(board): job_id
            for job_id, job in self.jobs.items()
            if job["allocated_machine_name"] == machine_name
            for board in job["boards"] or ()
        }
        for x in range(machine["width"]):
            for y in range(machine["height"]):
                for z in range(3):
                    state, text = self.board_states.get((machine_name, (x, y, z)), ("free", None))
                    job_id = users.get((x, y, z))
                    state = "used" if job_id is not None else state
                    state = "dead" if [x, y, z] in machine["dead_boards"] else state
                    rows.append([x, y, z, state, job_id, text])
        return {"event": 7, "boards": rows}

    def do_list_queue(self) -> dict[str, Any]:
        queued = [job_id for job_id, job in self.jobs.items() if job["state"] == 1]
        jobs = []
        for place, job_id in enumerate(queued):
            obstacles = [{"name": "demo", "why": "no place for 2 x 1 triads", "until": None}]
            outlook = {
                "job_id": job_id,
                "position": place + 1,
                "ahead": place,
                "first_ahead": queued[:place][:10],
                "machines": obstacles,
                "expected": None,
            }
            jobs.append({**outlook, **self.outlooks.get(job_id, {})})
        return {"made": 1_700_000_754.0, "jobs": jobs}

    def do_get_job_outlook(self, job_id: int) -> dict[str, Any] | None:
        outlooks = [job for job in self.do_list_queue()["jobs"] if job["job_id"] == job_id]
        return outlooks[0] if outlooks else None

    def do_get_takeover_code(self, job_id: int) -> str | None:
        return self.codes.get(job_id)

    def do_take_over_job(self, job_id: int, code: str) -> bool:
        if job_id in self.codes and self.codes[job_id] != code:
            raise ValueError(f"this is not the code of job {job_id}")
        return job_id in self.codes

    def do_report_problem(self, job_id: int, board: Any, text: str) -> str:
        return f"job {job_id}: {board} noted: {text}"

    # --- threads ---

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client = _Client(listener.accept()[0])
            except OSError:
                return
            with self._news:
                self._clients.append(client)
                self.connections += 1
                self._news.notify_all()
            self._spawn(self._serve, client)

    def _serve(self, client: "_Client") -> None:
        if self._context is not None and not client.encrypt(self._context):
            return
        for line in client.lines():
            if not self._respond(client, json.loads(line)):
                break
        client.close()
        with self._news:
            if client in self._clients:
                self._clients.remove(client)
            self._news.notify_all()

    def _respond(self, client: "_Client", call: dict[str, Any]) -> bool:
        name, args, kwargs = call["command"], call["args"], call.get("kwargs", {})
        try:
            reply = self.answer(name, args, kwargs)
        except Exception as exc:  # noqa: BLE001 (told to the client)
            client.send(json.dumps({"exception": str(exc)}).encode() + b"\n")
            reply = HANG
        with self._news:
            self.heard.append((name, args, kwargs))
            self._news.notify_all()
        if reply is VANISH:
            return False
        if reply is GARBAGE:
            client.send(b"\x80 nonsense\n")
        elif reply is not HANG:
            client.send(json.dumps({"return": reply}).encode() + b"\n")
        return True


class _Client:
    """The server's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # guards sending and closing

    def encrypt(self, context: ssl.SSLContext) -> bool:
        """Begin TLS; False if the client does not like it."""
        try:
            self._connection = context.wrap_socket(self._connection, server_side=True)
        except OSError:
            self.close()
            return False
        return True

    def lines(self) -> Any:
        with self._connection.makefile("rb") as stream:
            try:
                yield from stream
            except OSError:
                return

    def send(self, data: bytes) -> None:
        with self._lock:
            try:
                self._connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        with self._lock:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()
