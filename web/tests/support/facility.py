"""A made-up facility: machines, boards, jobs and a queue, changed at will."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

Board = tuple[int, int, int]

#: Every state of a board, and how often a random facility has it.
STATES = ("free", "used", "dead", "resting", "out", "unknown", "draining", "reserved")
START = 1_764_000_000.0
OWNERS = ("ada@example.org", "brian@example.org", "chen@example.org", "dörte <b>@example.org")
TEXTS = {
    "resting": "until 14:03",
    "out": "since 13:10 (power on refused)",
    "unknown": "frame c0 f1 does not answer",
    "draining": "draining since 13:10 UTC: new fan",
    "reserved": "for job 17's region",
}


@dataclass
class FakeMachine:
    """A machine; all its boards have a state."""

    name: str
    width: int
    height: int
    tags: list[str] = field(default_factory=lambda: ["default"])
    boards: dict[Board, tuple[str, int | None, str | None]] = field(default_factory=dict)
    dead_links: list[tuple[int, int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for y, x, z in itertools.product(range(self.height), range(self.width), range(3)):
            self.boards.setdefault((x, y, z), ("free", None, None))

    def rows(self) -> list[list[Any]]:
        return [[*board, *state] for board, state in self.boards.items()]


class Facility:
    """The content of a fake server.

    Changes are made by methods; `notes` collects the notifications they cause.
    """

    def __init__(self, machines: list[FakeMachine]) -> None:
        self.machines = {machine.name: machine for machine in machines}
        self.jobs: dict[int, dict[str, Any]] = {}
        self.why: dict[int, str] = {}
        self.expected: dict[int, Any] = {}
        self.ended: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.message: str | None = None
        self.accepting = True
        #: Of jobs that were given to somebody else than their host.
        self.principals: dict[int, str] = {}
        self.notes: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1_764_000_000_000_001)

    # --- changes ----------------------------------------------------------------------------

    def event(self, kind: str, **more: Any) -> None:
        number = next(self._numbers)
        told = {"number": number, "time": START, "event": kind, "state": 1_764_000_000_000_000}
        self.events.append({**told, **more})
        self.notes.append({"events_until": number})

    def create(self, owner: str, args: list[int], why: str | None = None) -> int:
        job_id = next(self._ids)
        self.jobs[job_id] = {
            "job_id": job_id,
            "owner": owner,
            "start_time": START + job_id,
            "keepalive": 60.0,
            "state": 1,
            "power": None,
            "args": args,
            "kwargs": {},
            "allocated_machine_name": None,
            "boards": None,
            "keepalivehost": "10.0.0.7",
        }
        if why:
            self.why[job_id] = why
        self.notes.append({"jobs_changed": [job_id]})
        self.event("created", job=job_id, owner=owner)
        return job_id

    def allocate(self, job_id: int, name: str, boards: list[Board], state: int = 3) -> None:
        machine = self.machines[name]
        job = self.jobs[job_id]
        job.update(allocated_machine_name=name, boards=boards, state=state, power=True)
        for board in boards:
            machine.boards[board] = ("used", job_id, None)
        self.notes += [{"jobs_changed": [job_id]}, {"machines_changed": [name]}]
        self.event("allocated", job=job_id, machine=name)

    def list_job_times(self) -> list[dict[str, Any]]:
        return [
            {
                "job_id": job_id,
                "allocated": job["start_time"] + 5,
                "ready": None if job["state"] == 2 else job["start_time"] + 10,
            }
            for job_id, job in self.jobs.items()
            if job["boards"]
        ]

    def end(self, job_id: int, reason: str = "finished") -> None:
        job = self.jobs.pop(job_id)
        self.why.pop(job_id, None)
        name = job["allocated_machine_name"]
        self.ended.insert(
            0,
            {
                "job_id": job_id,
                "owner": job["owner"],
                "host": job["keepalivehost"],
                "created": job["start_time"],
                "allocated": job["start_time"] + 5 if name else None,
                "ready": job["start_time"] + 10 if name else None,
                "ended": START + 1000,
                "machine": name,
                "place": [0, 0, 1, 1] if name else None,
                "boards": len(job["boards"] or []),
                "reason": reason,
                "by": "client",
                "by_host": "10.0.0.7",
            },
        )
        self.notes.append({"jobs_changed": [job_id]})
        if name:
            for board in job["boards"]:
                self.machines[name].boards[board] = ("resting", None, TEXTS["resting"])
            self.notes.append({"machines_changed": [name]})
        self.event("ended", job=job_id, machine=name, reason=reason)

    def destroy(self, job_id: int, reason: str) -> None:
        if job_id in self.jobs:
            self.end(job_id, reason)

    def code_for(self, user: str, job_id: int) -> str:
        if self.principals.get(job_id) != f"user:{user}":
            raise ValueError(f"job {job_id} is of another, you are user:{user}")
        return "new code"

    def set_board(self, name: str, board: Board, state: str, job_id: int | None = None) -> None:
        self.machines[name].boards[board] = (state, job_id, TEXTS.get(state))
        kind = "board out" if state == "out" else "board back"
        self.event(kind, machine=name, board=list(board), text=TEXTS.get(state))

    def say(self, message: str | None) -> None:
        self.message = message
        self.event("message", text=message)

    # --- answers of commands ----------------------------------------------------------------

    def list_machines(self) -> list[dict[str, Any]]:
        return [
            {
                "name": machine.name,
                "tags": machine.tags,
                "width": machine.width,
                "height": machine.height,
                "dead_boards": [b for b, s in machine.boards.items() if s[0] == "dead"],
                "dead_links": machine.dead_links,
            }
            for machine in self.machines.values()
        ]

    def list_boards(self, name: str) -> dict[str, Any] | None:
        machine = self.machines.get(name)
        if machine is None:
            return None
        last = self.events[-1]["number"] if self.events else 1_764_000_000_000_000
        return {"event": last, "boards": machine.rows()}

    def list_queue(self) -> dict[str, Any]:
        queued = [job_id for job_id, job in self.jobs.items() if job["state"] == 1]
        return {
            "made": START,
            "jobs": [
                {
                    "job_id": job_id,
                    "position": place,
                    "ahead": place - 1,
                    "first_ahead": queued[: place - 1][:10],
                    "machines": [
                        {"name": name, "why": self.why.get(job_id, "no room"), "until": None}
                        for name in list(self.machines)[:1]
                    ],
                    "expected": self.expected.get(job_id),
                }
                for place, job_id in enumerate(queued, start=1)
            ],
        }

    def list_events(self, after: int, limit: int) -> dict[str, Any]:
        events = [event for event in self.events if event["number"] > after][:limit]
        following = events[-1]["number"] if events else after
        return {"events": events, "next": following, "lost": False}

    def list_places(self, name: str) -> list[list[Any]] | None:
        machine = self.machines.get(name)
        if machine is None:
            return None
        return [
            [*board, *(self.board_position(name, *board) or ()), f"192.168.0.{number % 255}"]
            for number, board in enumerate(machine.boards, start=1)
        ]

    def board_position(self, name: str, x: int, y: int, z: int) -> list[int] | None:
        machine = self.machines.get(name)
        if machine is None or (x, y, z) not in machine.boards:
            return None
        frames_across = max(1, machine.width // 4)
        frame = x // 4 + y // 2 * frames_across
        return [frame // 5, frame % 5, (y % 2 * 4 + x % 4) * 3 + z]


def empty(width: int, height: int, name: str = "machine") -> Facility:
    """A facility of one machine with nothing in it."""
    return Facility([FakeMachine(name, width, height)])


def busy(width: int, height: int, seed: int = 1, name: str = "machine") -> Facility:
    """One machine in which blocks of all sizes run, some boards are bad and jobs wait."""
    chance = random.Random(seed)
    facility = empty(width, height, name)
    machine = facility.machines[name]
    for board in machine.boards:
        luck = chance.random()
        if luck < 0.01:
            machine.boards[board] = ("dead", None, None)
        elif luck < 0.02:
            machine.boards[board] = ("out", None, TEXTS["out"])
        elif luck < 0.03:
            machine.boards[board] = ("resting", None, TEXTS["resting"])
    for _ in range(width * height // 6 + 2):
        w, h = chance.randint(1, max(1, width // 3)), chance.randint(1, max(1, height // 3))
        x, y = chance.randrange(width - w + 1), chance.randrange(height - h + 1)
        block = list(itertools.product(range(x, x + w), range(y, y + h), range(3)))
        if all(machine.boards[board][0] in {"free", "out", "dead"} for board in block):
            boards = [board for board in block if machine.boards[board][0] == "free"]
            if boards:
                job_id = facility.create(chance.choice(OWNERS), [w, h])
                facility.allocate(job_id, name, boards)
    for _ in range(width * height // 40 + 1):
        x, y = chance.randrange(width), chance.randrange(height)
        links = machine.dead_links
        links.append((x, y, 0, 2))
        links.append((x, y, 2, 5))
    for place in range(1, min(13, width * height // 8 + 2)):
        job_id = facility.create(chance.choice(OWNERS), [width, max(1, height // place)])
        facility.why[job_id] = (
            f"{3 * place} boards are free, but no place for {width} x {place} triads"
            if place % 2
            else "behind job 17, which keeps a region for itself"
        )
    return facility


def full(width: int, height: int, name: str = "machine") -> Facility:
    """One machine with all boards used, by jobs of one row each."""
    facility = empty(width, height, name)
    for y in range(height):
        job_id = facility.create(OWNERS[y % 3], [width, 1])
        boards = list(itertools.product(range(width), [y], range(3)))
        facility.allocate(job_id, name, boards)
    return facility


def half_out(width: int, height: int, name: str = "machine") -> Facility:
    """A busy machine of which every second frame is out of service or silent."""
    facility = busy(width, height, name=name)
    machine = facility.machines[name]
    for (x, y, z), (state, job_id, _) in list(machine.boards.items()):
        if (x // 4 + y // 2) % 2:
            word = "unknown" if (x // 4) % 4 == 3 else "out"
            if state == "used":
                machine.boards[x, y, z] = ("used", job_id, TEXTS["draining"])
            elif state != "dead":
                machine.boards[x, y, z] = (word, None, TEXTS[word])
    return facility


def shuffle(facility: Facility, chance: random.Random) -> None:
    """Give each board of each machine a random state."""
    for name, machine in facility.machines.items():
        jobs = [j for j, job in facility.jobs.items() if job["allocated_machine_name"] == name]
        for board in machine.boards:
            state = chance.choice(STATES)
            job_id = chance.choice(jobs) if jobs and state in {"used", "draining"} else None
            machine.boards[board] = (state, job_id, TEXTS.get(state))
        facility.notes.append({"machines_changed": [name]})
        facility.event("board back", machine=name)
