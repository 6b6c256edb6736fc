"""How a benchmark runs: rounds, both contestants in turn, failures told and not fatal.

Owns the results and who is in the race.  Knows nothing of what each work does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import BARE, OURS, Contestant, Frames, Serving, Trouble
from benchmarks.results import Result, Work
from benchmarks.sites import Site

#: What a server that dies, or hangs, does to a measurement.
_HARM = (Trouble, OSError, RuntimeError, ValueError)


@dataclass
class Bench:
    """A run of the benchmarks.

    Attributes
    ----------
    folder : Path
        For the files of all processes.
    contestants : sequence of Contestant
        Ours first; the loop that does nothing, if it is among them, runs those works only
        that it can do.
    rounds : int
        How often each work is measured.
    settle : float
        Seconds that a server is left alone after its start.
    seconds : float
        For how long the rate of a command is measured each time.
    clients : int
        How many idle clients stand beside a busy one.
    chosen : callable
        Whether a work is wanted.
    side : (int, int)
        Width and height of the machine, in triads.
    quick : bool
        Whether a rough figure will do.
    pages : list of str
        What is printed beside the table.
    """

    folder: Path
    contestants: Sequence[Contestant]
    rounds: int = 5
    settle: float = 2.0
    seconds: float = 0.5
    clients: int = 1000
    chosen: Callable[[Work], bool] = lambda _: True
    side: tuple[int, int] = (20, 20)
    quick: bool = False
    pages: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)

    def select(self, works: Sequence[Work]) -> list[Work]:
        """Return those works that are wanted."""
        return [work for work in works if self.chosen(work)]

    def result(self, work: Work) -> Result:
        """Return where a work's samples go."""
        if work.name not in self.results:
            self.results[work.name] = Result(work)
        return self.results[work.name]

    @contextmanager
    def race(self, works: Sequence[Work], contestant: Contestant) -> Iterator[bool]:
        """Measure some works on one contestant; what goes wrong is its result.

        Yields whether there is anything to measure.
        """
        results = [self.result(work) for work in works]
        able = not any(contestant.name in result.failures for result in results)
        if contestant.name == BARE:
            able = able and any(work.bare for work in works)
        try:
            yield able
        except _HARM as e:
            for result in results:
                result.failures.setdefault(contestant.name, f"{type(e).__name__}: {e}"[:200])

    def turns(self, rounds: int | None = None) -> Iterator[Contestant]:
        """Hand out the contestants, round after round, each time another one first.

        None of three has two turns on end, which would be an advantage: what it used last is
        still at hand.
        """
        for number in range(self.rounds if rounds is None else rounds):
            first = number % len(self.contestants)
            yield from self.contestants[first:]
            yield from self.contestants[:first]

    @contextmanager
    def side_by_side(
        self,
        works: Sequence[Work],
        prepare: Callable[[Serving, Site], None],
    ) -> Iterator[tuple[Site, dict[str, Serving]]]:
        """Have all contestants serve the same frames; the idle one costs next to nothing."""
        site = Site.of(*self.side)
        servers: dict[str, Serving] = {}
        with ExitStack() as stack:
            stack.enter_context(Frames(self.folder, site))
            for contestant in self.contestants:
                with self.race(works, contestant) as able:
                    if not able:
                        continue
                    wait = 0.0 if contestant.name == OURS else None
                    server = Serving(self.folder, contestant, site, fpga_wait=wait)
                    stack.enter_context(server)
                    prepare(server, site)
                    servers[contestant.name] = server
            yield site, servers

    @contextmanager
    def one(
        self, contestant: Contestant, works: Sequence[Work]
    ) -> Iterator[tuple[Site, Serving | None]]:
        """Have one contestant serve frames of its own, as it does by itself.

        Yields None for a server that has failed already.
        """
        site = Site.of(*self.side)
        with self.race(works, contestant) as able, ExitStack() as stack:
            server = None
            if able:
                with self.race(works, contestant):
                    stack.enter_context(Frames(self.folder, site))
                    server = stack.enter_context(Serving(self.folder, contestant, site))
                    time.sleep(self.settle)
            yield site, server

    def say(self, text: str) -> None:
        """Tell whoever waits what is going on."""
        print(text, file=sys.stderr, flush=True)
