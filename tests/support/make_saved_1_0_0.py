"""Writes a state and a journal as version 1.0.0 saves them, from a life with all there is.

Run once, as ``python -m tests.support.make_saved_1_0_0 tests/data/saved_1_0_0``, by version
1.0.0: what it wrote is read for good by `test_upgrades`, and never written again.
``stopped`` is what a clean stop left, ``crashed`` what a crash did, with half of the
life in the journal; ``known.json`` is what the server knew.
"""

import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from spalloc_server import _clock, controller
from spalloc_server._bmp.failures import BoardFault, FailureReason
from spalloc_server._jobs import book
from spalloc_server._saved.store import Store
from spalloc_server.configuration import Machine
from spalloc_server.controller import Controller
from tests.support.outcomes import hear_outcomes
from tests.support.recovery_life import Frame, machine

VERSION = "1.0.0"
CONFIG = "saved.cfg"

_HOST = "192.0.2.7"


class _Clock:
    """Stands still but for who moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1.7951e9 + self.now


class SavedLife:
    """What is done, in two halves."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.controller = Controller(seconds_before_free=60, max_retired_jobs=6)
        self._machines: dict[str, Machine] = {}

    def configure(self, **machines: Machine | None) -> None:
        known = {**self._machines, **machines}
        self._machines = {name: m for name, m in known.items() if m is not None}
        self.controller.machines = self._machines

    def create(self, *what: int | None, owner: str = "me", **keywords: Any) -> int:
        self.clock.now += 1
        keywords.setdefault("keepalive", None)
        return self.controller.create_job(_HOST, *what, owner=owner, **keywords)

    def answer(self, *hosts: str) -> None:
        """Have these frames do all that they were asked."""
        while busy := [f for f in Frame.frames if f.hostname in hosts and f.waiting]:
            for frame in busy:
                frame.waiting.pop(0).on_done(True)

    def first_half(self) -> None:
        self.configure(
            a=machine("a", 4, 2, dead_boards={(3, 1, 2)}),
            b=machine("b", 2, 1, tags={"default", "odd"}),
            gone=machine("gone", 1, 1),
        )
        self.create(3)  # 1
        self.create(owner="Ω \N{SNOWMAN} \ud800", keepalive=3600.0)  # 2
        self.create(2, 1, machine="a", max_dead_boards=0)  # 3
        self.create(3, machine="gone")  # 4
        self.create(1, 0, 1, machine="b")  # 5
        self.create(owner="to rest")  # 6
        self.create(7, 7)  # 7, cancelled
        self.answer("a-0", "a-1", "gone-0", "gone-1", "b-0", "b-1")
        self.controller.destroy_job(None, 6, "done")
        self.answer("a-0", "a-1", "b-0", "b-1")
        self.controller.hold_board("b", (1, 0, 2), "smells of smoke")  # type: ignore[attr-defined]
        self.controller.power_off_job_boards("192.0.2.8", 3)
        self.answer("a-0", "a-1")

    def second_half(self) -> None:
        self.controller.destroy_job(None, 4, None)
        self.configure(gone=None)
        self.create(tags={"odd"})  # 8, its board fails, and it moves
        frame = next(f for f in Frame.frames if f.hostname.startswith("b-") and f.waiting)
        request = frame.waiting.pop(0)
        fault = BoardFault(request.power_on_boards[0], "FPGA 1 is not there", "fpga")
        request.on_done(False, FailureReason("Requests failed: FPGA 1 is not there", [fault]))
        self.create(owner="short", machine="a")  # 9
        self.answer("a-0", "a-1")
        self.clock.now += 60
        self.controller.check_free()  # the boards of 6 have rested
        self.controller.destroy_job(None, 9)
        self.answer("a-0", "a-1")  # its boards rest
        self.controller.max_retired_jobs = 5
        self.clock.now += 20
        self.create(3, owner="halfway")  # 10, being powered on
        self.create(1, min_ratio=0.5, keepalive=60.0)  # 11, likewise
        self.create(4, 2, machine="a", owner="patience")  # 12, queued
        self.create(6, 6)  # 13, cancelled
        self.controller.job_keepalive("192.0.2.9", 1)
        waiting = self.create(4, 2, machine="a", require_torus=True, keepalive=30.0)  # 14, queued
        self.controller.destroy_job(None, waiting, "Never mind.")
        silent = next(f for f in Frame.frames if f.hostname == "b-0")
        assert silent.on_answering_change is not None
        silent.on_answering_change(False)
        self.clock.now += 1


def main(folder: Path) -> None:
    """Write everything into `folder`."""
    Frame.frames = []
    clock = _Clock()
    with (
        tempfile.TemporaryDirectory() as temporary,
        mock.patch.object(controller, "AsyncBMPController", Frame),
        mock.patch.object(_clock, "monotonic", clock.monotonic),
        mock.patch.object(_clock, "wall", clock.wall),
        mock.patch.object(secrets, "token_hex", lambda n: "0123456789abcdef"[: 2 * n]),
    ):
        directory = Path(temporary)
        store = Store(directory, CONFIG, VERSION, book=book)
        store.load()
        life = SavedLife(clock)
        store.begin(life.controller.__getstate__())
        hear_outcomes(life.controller, store.append)
        life.first_half()
        store.commit()
        store.snapshot(life.controller.__getstate__())
        life.second_half()
        store.commit()
        _keep(directory, folder / "crashed")
        known = life.controller.__getstate__()
        store.close(known)
        _keep(directory, folder / "stopped")
        (folder / "known.json").write_text(json.dumps(known, indent=1) + "\n")


def _keep(directory: Path, folder: Path) -> None:
    """Copy saved files to names that are no saved files' names."""
    folder.mkdir(parents=True)
    for path in sorted(directory.glob(f".{CONFIG}.*")):
        name = path.name.removeprefix(f".{CONFIG}.")
        shutil.copy(path, folder / name.replace(f"state.{VERSION}", "state"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
