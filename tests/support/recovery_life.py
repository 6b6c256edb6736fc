"""A controller's random life, and the book that its outcomes add up to.

Run as ``python -m tests.support.recovery_life``, it reads books as JSON, one a line,
recovers a controller from each and writes what that one knows, one book a line.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

from spalloc_server import _clock, controller
from spalloc_server._bmp.failures import BoardFault, FailureReason
from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server._jobs import book as _book
from spalloc_server.configuration import Machine
from spalloc_server.controller import Controller
from spalloc_server.job_queue import JobQueue
from spalloc_server.links import Links
from tests.support.outcomes import hear_outcomes


class Frame:
    """A frame whose answers the test decides; it sends nothing anywhere."""

    frames: list["Frame"] = []

    def __init__(self, hostname: str, on_thread_start: Callable[[], object] | None = None) -> None:
        self.hostname = hostname
        self.on_answering_change: Callable[[bool], object] | None = None
        self.waiting: list[AtomicRequests] = []
        self.frames.append(self)

    def add_requests(self, requests: AtomicRequests) -> None:
        self.waiting.append(requests)

    def stop(self) -> None:
        pass

    def join(self) -> None:
        pass

    def __enter__(self) -> "Frame":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def machine(name: str, width: int, height: int, **changes: Any) -> Machine:
    """A machine of two frames at most, its boards spread over them."""
    boards = [(x, y, z) for y in range(height) for x in range(width) for z in range(3)]
    return Machine(
        name,
        width=width,
        height=height,
        board_locations={board: (0, n % 2, n // 2) for n, board in enumerate(boards)},
        bmp_ips={(0, 0): f"{name}-0", (0, 1): f"{name}-1"},
        spinnaker_ips={board: f"{name}-{n}-board" for n, board in enumerate(boards)},
        **changes,
    )


_REQUESTS: list[tuple[int | None, ...]] = [
    (), (1,), (2,), (3,), (5,), (1, 1), (2, 1), (2, 2), (0, 0, 1), (1, 1, 2), (None,), (9, 9),
    (40,),
]  # fmt: skip
_LIMITS: list[dict[str, Any]] = [
    {}, {}, {}, {"tags": []}, {"tags": ["odd"]}, {"machine": "a"}, {"machine": "nowhere"},
    {"max_dead_boards": 0}, {"min_ratio": 0.5}, {"max_dead_links": 0},
]  # fmt: skip
_BAD: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((2.5,), {}), ((True,), {}), ((1, 2, 3, 4), {}), ((), {"nonsense": 1}),
    ((), {"machine": "a", "tags": ["default"]}), ((), {"min_ratio": float("nan")}),
]  # fmt: skip


class Life:
    """One random life, told as inputs; every outcome is also written into a book."""

    def __init__(self, seed: str) -> None:
        self.counts: Counter[str] = Counter()
        self.now = 1000.0
        self._random = random.Random(seed)
        self._dead: set[tuple[int, int, int]] = set()
        self.controller = Controller(seconds_before_free=5, max_retired_jobs=10)
        self._machines = {"a": machine("a", 2, 2, dead_boards=self._dead)}
        self.controller.machines = self._machines
        self.book = json_copy(self.controller.__getstate__())
        hear_outcomes(self.controller, self._write)
        if self._random.random() < 0.5:
            self.controller.set_order("overtaking", 100.0)

    def _write(self, outcome: _book.Outcome) -> None:
        _book.apply(self.book, json.loads(json.dumps(outcome)))

    def live(self, inputs: int) -> None:
        """Undergo so many inputs."""
        for _ in range(inputs):
            name, step = self._random.choice(_INPUTS)
            if step(self):
                self.counts[name] += 1
            self.now += 0.01
            self._check_regions()
        self.controller.list_machines()

    def _check_regions(self) -> None:
        """The book knows the regions there are, whenever the life is cut short."""
        queue = self.controller._job_queue
        for job_id, job in self.book["jobs"].items():
            region, told = queue.region_of(job_id), job["region"]
            if region is None:
                assert told is None or told["machine"] is None
            else:
                assert told["machine"] == region.machine
                assert tuple(told["place"]) == region.place
            assert (told is None) == (queue.region_age(job_id) is None)

    # --- inputs; each says whether it was one ---

    def _job_id(self) -> int:
        ids = list(self.controller._jobs)
        return self._random.choice(ids) if ids and self._random.random() < 0.95 else 999_999

    def create(self) -> bool:
        host = self._random.choice([None, "10.0.0.1", "10.0.0.2"])
        what = self._random.choice(_REQUESTS)
        keepalive = self._random.choice([None, 20.0, 60.0])
        limits = self._random.choice(_LIMITS)
        self.controller.create_job(host, *what, owner="me", keepalive=keepalive, **limits)
        return True

    def refused_create(self) -> bool:
        what, limits = self._random.choice(_BAD)
        try:
            self.controller.create_job(None, *what, owner="me", **limits)
        except (TypeError, ValueError):
            return True
        raise AssertionError(f"{what} {limits} was not refused")

    def keepalive(self) -> bool:
        self.controller.job_keepalive(self._random.choice([None, "h1", "h2"]), self._job_id())
        return True

    def destroy(self) -> bool:
        self.controller.destroy_job(None, self._job_id(), self._random.choice([None, "", "done"]))
        return True

    def power(self) -> bool:
        order = self._random.choice(
            [self.controller.power_on_job_boards, self.controller.power_off_job_boards]
        )
        order("h3", self._job_id())
        return True

    def _answer(self, *answer: Any) -> bool:
        waiting = [frame for frame in Frame.frames if frame.waiting]
        if not waiting:
            return False
        self._random.choice(waiting).waiting.pop(0).on_done(*answer)
        return True

    def hardware_succeeds(self) -> bool:
        return self._answer(True)

    def hardware_fails(self) -> bool:
        return self._answer(False)

    def board_fails(self) -> bool:
        during = self._random.choice(["power_on", "fpga", "link", "power_off"])
        fault = BoardFault(self._random.randrange(4), "it smells", during)
        return self._answer(False, FailureReason("Requests failed on BMP x", [fault]))

    def frame_is_silent(self) -> bool:
        return self._answer(False, FailureReason("no answer", silent=True))

    def frame_changes_its_mind(self) -> bool:
        frame = self._random.choice(Frame.frames)
        if frame.on_answering_change is None:
            return False
        frame.on_answering_change(self._random.random() < 0.7)
        return True

    def time_passes(self) -> bool:
        self.now += self._random.choice([0.5, 3.0, 10.0, 70.0])
        self.controller.destroy_timed_out_jobs()
        self.controller.check_free()
        self.controller.check_health()
        return True

    def much_time_passes(self) -> bool:
        self.now += 4000.0
        self.controller.destroy_timed_out_jobs()
        self.controller.check_free()
        self.controller.check_health()
        return True

    def board_dies_in_place(self) -> bool:
        board = (self._random.randrange(2), self._random.randrange(2), self._random.randrange(3))
        self._dead ^= {board}
        return True

    def tags_and_dead_change(self) -> bool:
        if "b" not in self._machines:
            return False
        self._machines["b"] = self._machines["b"]._replace(
            tags=frozenset(self._random.choice([{"default"}, {"odd"}, {"default", "odd"}])),
            dead_boards=frozenset(self._random.choice([set(), {(0, 0, 1)}, {(2, 0, 0)}])),
            dead_links=frozenset(self._random.choice([set(), {(0, 0, 0, Links.north)}])),
        )
        self.controller.machines = self._machines
        return True

    def machine_comes_or_goes(self) -> bool:
        if "b" in self._machines:
            del self._machines["b"]
        else:
            self._machines["b"] = machine("b", 3, 1)
        self.controller.machines = self._machines
        return True

    def machine_is_made_anew(self) -> bool:
        if "b" not in self._machines:
            return False
        width = 3 if self._machines["b"].width == 4 else 4
        self._machines["b"] = machine("b", width, 1)
        self.controller.machines = self._machines
        return True

    def order_changes(self) -> bool:
        self._machines = dict(reversed(self._machines.items()))
        self.controller.machines = self._machines
        return True

    def limits_change(self) -> bool:
        self.controller.max_retired_jobs = self._random.choice([0, 3, 10])
        self.controller.seconds_before_free = self._random.choice([0, 2, 5])
        return True

    def scheduling_changes(self) -> bool:
        orders = ["fcfs", "fcfs-grid", "overtaking", "overtaking"]
        patience = self._random.choice([0.0, 100.0, 7200.0])
        self.controller.set_order(self._random.choice(orders), patience)
        return True

    def operator_acts(self) -> bool:
        board = (self._random.randrange(2), self._random.randrange(2), self._random.randrange(3))
        try:
            if self._random.random() < 0.4:
                self.controller.upkeep.hold_boards("a", [board], "to be mended")
            else:
                self.controller.upkeep.release_boards("a", [board])
        except ValueError:
            return False
        return True


_INPUTS: list[tuple[str, Callable[[Life], bool]]] = [
    (method.__name__, method)
    for method, weight in [
        (Life.create, 12), (Life.refused_create, 1), (Life.keepalive, 3), (Life.destroy, 5),
        (Life.power, 3), (Life.hardware_succeeds, 20), (Life.hardware_fails, 1),
        (Life.board_fails, 1), (Life.frame_is_silent, 1), (Life.frame_changes_its_mind, 2),
        (Life.time_passes, 3), (Life.much_time_passes, 1), (Life.board_dies_in_place, 1),
        (Life.tags_and_dead_change, 1), (Life.machine_comes_or_goes, 1),
        (Life.machine_is_made_anew, 1), (Life.order_changes, 1), (Life.limits_change, 1),
        (Life.operator_acts, 2), (Life.scheduling_changes, 1),
    ]
    for _ in range(weight)
]  # fmt: skip
INPUTS = sorted({name for name, _ in _INPUTS})


def random_life(seed: str, inputs: int) -> Life:
    """Live a life with a clock and frames of its own."""
    Frame.frames = []
    with (
        mock.patch.object(controller, "AsyncBMPController", Frame),
        mock.patch.object(_clock, "wall", lambda: 1.7e9),
    ):
        life: Life | None = None
        with mock.patch.object(_clock, "monotonic", lambda: 1000.0 if life is None else life.now):
            life = Life(seed)
            life.live(inputs)
            life.final = life.controller.__getstate__()  # type: ignore[attr-defined]
            return life


def recover(book: _book.Book) -> _book.Book:
    """Return what a controller that was recovered from a book knows, before it decides."""
    Frame.frames = []
    with (
        mock.patch.object(controller, "AsyncBMPController", Frame),
        mock.patch.object(JobQueue, "_process_queue", lambda *_: None),
        mock.patch.object(JobQueue, "_regenerate_queues", lambda _self: None),
    ):
        recovered = Controller.__new__(Controller)
        recovered.__setstate__(book)
        return recovered.__getstate__()


def json_copy(book: Any) -> Any:
    """Return a book as the journal's JSON would give it back, with its numbers as keys."""
    copy = json.loads(json.dumps(book))
    for table in {"jobs", "retired", "ended"} & set(copy):
        copy[table] = {int(key): value for key, value in copy[table].items()}
    for table in ("going", "resting"):
        copy[table] = {
            name: {int(key): value for key, value in each.items()}
            for name, each in copy[table].items()
        }
    return copy


def comparable(book: Any) -> Any:
    """Return a book without what may differ: how long ago things were."""
    copy = json_copy(book)
    copy["events"] = None  # their numbers are not the controller's
    for resting in copy["resting"].values():
        for each in resting.values():
            each[1] = None
    copy["quarantine"] = {
        name: {
            "cases": sorted([case["board"], case["kind"], case["what"]] for case in each["cases"]),
            "silent": sorted(frame for frame, *_ in each["silent"]),
        }
        for name, each in copy["quarantine"].items()
        if each["cases"] or each["silent"]  # else only faults of the last day, which time forgets
    }
    del copy["told_at"]
    for job in copy["jobs"].values():
        if job["region"] is not None:
            del job["region"]["age"], job["region"]["at"]
        if job["allocation"] is not None and job["state"] != 3:
            job["state"] = 2
    return copy


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(recover(json_copy(json.loads(line)))), flush=True)
