"""A story of one bad board and one mute frame: ``python -m benchmarks.bad_boards``.

A busy machine of three frames (72 boards), as slow as a real one.  When all are at
work, the FPGAs of one board stop coming up, and the BMP of another frame falls silent.
Users ask for one to six boards, keep them for a while, give them back, and ask again.
The same script is played to this server and to the original, each on a machine of its
own, at the same time.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import Wire
from benchmarks.processes import Contestant, Frames, Serving, Trouble, original, ours
from benchmarks.sites import Site

_WIDTH, _HEIGHT = 6, 4
_BAD_BOARD, _BAD_FRAME, _MUTE_FRAME = 3, 0, 2
#: Seconds: quiet before the faults, use of boards, between two looks at a job.
_QUIET, _USE, _LOOK = 45.0, (10.0, 30.0), 0.5
_READY, _DESTROYED = 3, 4


@dataclass
class Story:
    """What became of the jobs.

    Attributes
    ----------
    served : int
        Jobs whose boards were ready.
    lost : dict
        {id: reason} of jobs that the server ended.
    waits : list of float
        Seconds from asking to ready.
    waiting : list of float
        Seconds that jobs which were never ready had been waiting at the end.
    met : int
        Jobs that met a fault.
    died : str or None
        If the server did, why.
    """

    served: int = 0
    lost: dict[int, str] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    met: int = 0
    died: str | None = None


class _User:
    """Asks for boards until the story ends."""

    def __init__(self, port: int, seed: int, end: float, story: Story) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._end = end
        self._story = story
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with Wire(self._port) as wire:
                self._pause(self._random.uniform(0, 5))
                while time.monotonic() < self._end:
                    self._job(wire)
        except (OSError, RuntimeError) as e:
            self._story.died = f"{type(e).__name__}: {e}"

    def _pause(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self._end - time.monotonic())))

    def _job(self, wire: Wire) -> None:
        asked = time.monotonic()
        boards = self._random.choice((1, 1, 1, 2, 3, 3, 6))
        job = wire.call("create_job", boards, owner="benchmark", keepalive=None)
        while time.monotonic() < self._end:
            state = wire.call("get_job_state", job)
            if state["state"] == _READY:
                self._story.served += 1
                self._story.waits.append(time.monotonic() - asked)
                self._pause(self._random.uniform(*_USE))
                wire.call("destroy_job", job)
                return
            if state["state"] == _DESTROYED:
                self._story.lost[job] = str(state["reason"])
                return
            self._pause(_LOOK)
        self._story.waiting.append(time.monotonic() - asked)


def play(contestant: Contestant, folder: Path, seconds: float, users: int) -> Story:
    """Play the story to one server, for some seconds from the faults on."""
    site = Site.of(_WIDTH, _HEIGHT)
    story = Story()
    with (
        Frames(folder, site, real_time=True) as frames,
        Serving(folder, contestant, site) as server,
    ):
        end = time.monotonic() + _QUIET + seconds
        everybody = [_User(server.port, seed, end, story) for seed in range(users)]
        for user in everybody:
            user.thread.start()
        time.sleep(_QUIET)
        frames.tell(f"{site.bmps[_BAD_FRAME]} board {_BAD_BOARD} fpga-wrong")
        frames.tell(f"{site.bmps[_MUTE_FRAME]} mute")
        for user in everybody:
            user.thread.join()
        logs = "".join(path.read_text(errors="replace") for path in folder.rglob("*jobs.log"))
        moved = {int(job) for job in re.findall(r"job (\d+): back in the queue", logs)}
        story.met = len(moved | story.lost.keys())
    return story


def _play_all(contestants: Sequence[Contestant], seconds: float, users: int) -> dict[str, Story]:
    stories: dict[str, Story] = {}

    def one(contestant: Contestant) -> None:
        with tempfile.TemporaryDirectory(prefix="spalloc-story-") as folder:
            stories[contestant.name] = play(contestant, Path(folder), seconds, users)

    threads = [threading.Thread(target=one, args=(contestant,)) for contestant in contestants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return stories


def _rows(stories: dict[str, Story]) -> list[tuple[str, ...]]:
    def row(title: str, *values: object) -> tuple[str, ...]:
        return (title, *map(str, values))

    told = list(stories.values())
    return [
        row("", *stories),
        row("jobs served", *(s.served for s in told)),
        row("jobs that met a fault", *(s.met for s in told)),
        row("jobs lost", *(len(s.lost) for s in told)),
        row("median wait for boards, s", *(_round(statistics.median, s.waits) for s in told)),
        row("longest wait for boards, s", *(_round(max, s.waits) for s in told)),
        row("still waiting at the end", *(len(s.waiting) for s in told)),
        row("longest of these, s", *(_round(max, s.waiting) for s in told)),
    ]


def _round(of: object, values: list[float]) -> str:
    return f"{of(values):.0f}" if values and callable(of) else "-"


def main(args: Sequence[str] | None = None) -> int:
    """Tell the story; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bad_boards", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="from the faults on (10)")
    parser.add_argument("--users", type=int, default=16, help="who ask for boards (16)")
    parser.add_argument("--without-original", action="store_true", help="this server alone")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(args)
    try:
        contestants = [ours()] if options.without_original else [ours(), original()]
        stories = _play_all(contestants, options.minutes * 60, options.users)
    except Trouble as e:
        print(f"bad_boards: {e}", file=sys.stderr)
        return 1
    if options.json:
        json.dump({name: vars(story) for name, story in stories.items()}, sys.stdout, indent=2)
        print()
        return 0
    rows = _rows(stories)
    for title, *values in rows:
        print(f"{title:28}" + "".join(f"{value:>12}" for value in values))
    for name, story in stories.items():
        for text in sorted({re.sub(r"\d+", "N", reason) for reason in story.lost.values()}):
            print(f"{name} ended jobs because: {text[:150]}")
        if story.died is not None:
            print(f"{name} died: {story.died}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
