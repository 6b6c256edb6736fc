"""What clients were told, kept by themselves, to hold a restarted server to it.

A request that was answered has happened; one without answer may have happened
or not, and is settled by what the restarted server says.
"""

import json
import random
import socket
import threading
from collections.abc import Iterable
from typing import Any

#: What jobs ask for: one board, three, whole triads, a block, a board by name.
_REQUESTS: list[list[int]] = [[], [1], [3], [4], [1, 1], [2, 1], [0, 0, 1], [1, 0, 2]]
_JOBS_PER_CLIENT = 6


class Ledger:
    """What all clients together know. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Jobs that exist for sure: {id: owner}.
        self.alive: dict[int, str] = {}
        #: Jobs that were asked for without an answer, by their owner, who is unique.
        self.unanswered_creates: set[str] = set()
        #: Jobs that have ended for sure.
        self.ended: set[int] = set()
        #: Jobs that were destroyed without an answer.
        self.unanswered_destroys: set[int] = set()
        #: Boards that a client was told: {id: (machine, boards)}.
        self.boards: dict[int, tuple[str, list[list[int]]]] = {}
        self.highest_id = 0
        self.answered = 0
        self._owners = 0

    def new_owner(self) -> str:
        """Return an owner that no job has had."""
        with self._lock:
            self._owners += 1
            owner = f"owner-{self._owners}"
            self.unanswered_creates.add(owner)
            return owner

    def created(self, owner: str, job_id: int) -> None:
        with self._lock:
            assert job_id not in self.alive, f"id {job_id} was given twice"
            assert job_id not in self.ended, f"id {job_id} was given again"
            self.unanswered_creates.discard(owner)
            self.alive[job_id] = owner
            self.highest_id = max(self.highest_id, job_id)
            self.answered += 1

    def destroying(self, job_id: int) -> None:
        with self._lock:
            self.alive.pop(job_id, None)
            self.unanswered_destroys.add(job_id)

    def destroyed(self, job_id: int) -> None:
        with self._lock:
            self.unanswered_destroys.discard(job_id)
            self.ended.add(job_id)
            self.answered += 1

    def told_boards(self, job_id: int, info: dict[str, Any]) -> None:
        with self._lock:
            self.answered += 1
            if info["boards"] is not None and job_id in self.alive:
                self.boards[job_id] = (info["machine_name"], sorted(info["boards"]))

    def settle(self, server: "Connection") -> None:
        """Hold a restarted server to everything, and learn how the unanswered went.

        Raises
        ------
        AssertionError
            If the server says anything else than its clients were told.
        """
        jobs = {job["job_id"]: job for job in server.call("list_jobs")}
        with self._lock:
            for job_id, owner in self.alive.items():
                assert job_id in jobs, (
                    f"job {job_id} is lost; {server.call('get_job_state', job_id)}"
                )
                assert jobs[job_id]["owner"] == owner
            for job_id in self.ended:
                assert job_id not in jobs, f"job {job_id} has come back"
            self.ended |= self.unanswered_destroys - jobs.keys()
            for job_id in self.unanswered_destroys & jobs.keys():
                self.alive[job_id] = jobs[job_id]["owner"]
            self.unanswered_destroys.clear()
            for job_id in jobs.keys() - self.alive.keys():
                owner = jobs[job_id]["owner"]
                assert owner in self.unanswered_creates, f"nobody asked for job {job_id}"
                assert job_id > self.highest_id or job_id not in self.ended
                self.alive[job_id] = owner
            self.unanswered_creates.clear()
            self.highest_id = max([self.highest_id, *jobs])
            for job_id, (machine, boards) in self.boards.items():
                if job_id in self.alive:
                    assert jobs[job_id]["allocated_machine_name"] == machine
                    assert sorted(jobs[job_id]["boards"]) == boards
        assert_no_two_owners(jobs.values())


def assert_no_two_owners(jobs: Iterable[dict[str, Any]]) -> None:
    """Check that no board has two owners."""
    owners: dict[tuple[Any, ...], int] = {}
    for job in jobs:
        for board in job["boards"] or ():
            place = (job["allocated_machine_name"], *board)
            assert place not in owners, f"{place} has two owners: {owners[place]}, {job['job_id']}"
            owners[place] = job["job_id"]


class Connection:
    """One client's connection; what goes wrong with it is an OSError."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._lines = self._socket.makefile("rb")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def send(self, name: str, *args: Any, **kwargs: Any) -> None:
        command = {"command": name, "args": args, "kwargs": kwargs}
        self._socket.sendall(json.dumps(command).encode() + b"\n")

    def receive(self) -> Any:
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the server is gone")
        answer = json.loads(line)
        assert "return" in answer, answer
        return answer["return"]

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self.send(name, *args, **kwargs)
        return self.receive()


class Client(threading.Thread):
    """Creates, looks at, powers and destroys jobs until its server is gone.

    It begins with `jobs`, which it has from an earlier client.
    """

    def __init__(self, port: int, ledger: Ledger, seed: str, jobs: Iterable[int]) -> None:
        super().__init__(name=f"client {seed}")
        self.failure: BaseException | None = None
        self.enough = threading.Event()
        self._ledger = ledger
        self._random = random.Random(seed)
        self._port = port
        self._mine = list(jobs)

    def run(self) -> None:
        try:
            connection = Connection(self._port)
        except OSError:
            return
        try:
            while not self.enough.is_set():
                self._some_commands(connection)
        except OSError:
            return  # killed, as it should be
        except Exception as e:  # noqa: BLE001 - told to the test, which is another thread
            self.failure = e
        finally:
            connection.close()

    def _some_commands(self, connection: Connection) -> None:
        """Send a few commands at once, then take their answers."""
        sent = [self._command(connection) for _ in range(self._random.randrange(1, 5))]
        for kind, what in sent:
            answer = connection.receive()
            if kind == "create":
                self._ledger.created(what, answer)
                self._mine.append(answer)
            elif kind == "destroy":
                self._ledger.destroyed(what)
            elif kind == "info":
                self._ledger.told_boards(what, answer)

    def _command(self, connection: Connection) -> tuple[str, Any]:
        choose = self._random
        if not self._mine or (len(self._mine) < _JOBS_PER_CLIENT and choose.random() < 0.4):
            owner = self._ledger.new_owner()
            args = choose.choice(_REQUESTS)
            connection.send("create_job", *args, owner=owner, keepalive=None)
            return "create", owner
        kind = choose.choice(["destroy", "info", "info", "power"])
        if kind == "destroy":
            job_id = self._mine.pop(choose.randrange(len(self._mine)))
            self._ledger.destroying(job_id)
            connection.send("destroy_job", job_id, "enough")
            return kind, job_id
        job_id = choose.choice(self._mine)
        if kind == "info":
            connection.send("get_job_machine_info", job_id)
        else:
            connection.send(f"power_{choose.choice(['on', 'off'])}_job_boards", job_id)
        return kind, job_id
