"""A machine that is asked for more than it has, for a while, under a hand-moved clock."""

import heapq
import random
import sys
from typing import Any

from tests.support.fake_clock import FakeClock
from tests.support.watched_queue import WatchedQueue

REST, OFF = 10, 5


class BusyLife:
    """Jobs that arrive, run for a finite time and give their boards back.

    Parameters
    ----------
    seed : int
        The same makes the same events.
    clock : FakeClock
    patience : float
    machines : dict of {name: (width, height)}
    check : bool
        Whether the watch checks after each event.

    Attributes
    ----------
    watched : WatchedQueue
    arrived, started : dict of {job id: time}
    """

    def __init__(
        self,
        seed: int,
        clock: FakeClock,
        *,
        patience: float = 300,
        machines: dict[str, tuple[int, int]] | None = None,
        check: bool = True,
    ) -> None:
        self.random, self.clock, self.is_checked = random.Random(seed), clock, check
        self.watched = WatchedQueue(patience, REST)
        self.queue = self.watched.queue
        self.sizes = machines or {"m": (4, 3)}
        for name, (width, height) in self.sizes.items():
            self.queue.add_machine(name, width, height)
        self.arrived: dict[int, float] = {}
        self.started: dict[int, float] = {}
        self.longest_life = 0.0
        self._events: list[tuple[float, int, str, int]] = []
        self._number = 0

    def run(self, jobs: int, seconds_between: float) -> None:
        """Let so many jobs arrive, and go on until all of them have ended."""
        time = self.clock.now
        for job_id in range(1, jobs + 1):
            time += self.random.expovariate(1 / seconds_between)
            self._schedule(time, "arrive", job_id)
        while self._events:
            self.clock.now, _, kind, job_id = heapq.heappop(self._events)
            getattr(self, f"_{kind}")(job_id)
            self._note_starts()
            if self.is_checked:
                self.watched.check()

    def _schedule(self, time: float, kind: str, job_id: int) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, kind, job_id))

    def _arrive(self, job_id: int) -> None:
        pick = self.random.random()
        width, height = max(self.sizes.values())
        what: tuple[int, ...]
        if pick < 0.4:
            what = ()
        elif pick < 0.75:
            what = (self.random.randint(2, width * height),)
        elif pick < 0.85:
            what = (self.random.randint(1, width), self.random.randint(1, height))
        elif pick < 0.93:
            what = (self.random.randrange(width), self.random.randrange(height), 1)
        else:
            what = (width, height)
        self.arrived[job_id] = self.clock.now
        self.queue.create_job(*what, job_id=job_id)

    def _end(self, job_id: int) -> None:
        self.queue.destroy_job(job_id)
        self._schedule(self.clock.now + OFF, "off", job_id)

    def _off(self, job_id: int) -> None:
        self.queue.free(job_id)
        self._schedule(self.clock.now + REST, "rested", job_id)

    def _rested(self, _job_id: int) -> None:
        self.queue.check_free()

    def _note_starts(self) -> None:
        for job_id, _, _ in self.watched.started[len(self.started) :]:
            self.started[job_id] = self.clock.now
            life = self.random.choice((30.0, 100.0, 400.0))
            self.longest_life = max(self.longest_life, life)
            self._schedule(self.clock.now + life, "end", job_id)


def decisions(seed: int) -> list[Any]:
    """All starts of a life on two machines."""
    clock = FakeClock()
    with clock.installed():
        life = BusyLife(seed, clock, machines={"m": (6, 5), "n": (3, 3)}, check=False)
        life.run(300, 6)
    return life.watched.started


if __name__ == "__main__":
    print(decisions(int(sys.argv[1])))
