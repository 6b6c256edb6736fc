"""A server's life as the store sees it, with a book of nothing but jobs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server._saved import store
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.generation import Generation, SnapshotWriter
from spalloc_server._saved.recovery import Recovered, recover
from spalloc_server._saved.saved_file import Names
from spalloc_server._saved.store import Store
from spalloc_server._saved.syncer import Syncer
from tests.support.store_disks import FakeBook, QuickDisk, State

BOOK = FakeBook()
CONFIG = "a.cfg"
STATE = ".a.cfg.state.1.0.0"
JOURNAL = ".a.cfg.journal"
LOCK = ".a.cfg.lock"


class ManualSyncer(Syncer):
    """Fsyncs when the test says so, instead of a thread."""

    def start(self) -> None:
        """Nothing starts."""

    def now(self) -> None:
        """Do what the thread does after its delay."""
        if self._journals.dirty:
            try:
                self._sync(self._journals.open, self._journals.begin_fsync())
            except OSError as e:
                self._on_failure(e)
        self._journals.close_over()


class InlineWriter(SnapshotWriter):
    """Writes a generation before it returns, and has the store settle it, without a thread."""

    def __init__(self, owner: Store) -> None:
        super().__init__(owner._tell_news)
        self._owner = owner

    def start(self) -> None:
        """Nothing starts."""

    def write(self, generation: Generation) -> None:
        """Write it now."""
        generation.write()
        self._on_done()
        self._owner.settle()


class FakeTime:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(_clock, "monotonic", lambda: self.now)


@pytest.fixture
def syncers(monkeypatch: pytest.MonkeyPatch) -> list[ManualSyncer]:
    """All that were made instead of threads, the newest last."""
    made: list[ManualSyncer] = []

    def make(*args: Any) -> ManualSyncer:
        made.append(ManualSyncer(*args))
        return made[-1]

    monkeypatch.setattr(store, "Syncer", make)
    return made


class Life:
    """One server's life: it does what it does and saves it.

    `history` holds the state after each turn, the first one from its start.
    """

    def __init__(
        self,
        directory: Path,
        disk: Disk | None = None,
        version: str = "1.0.0",
        durability: str = "process",
    ) -> None:
        self.store = Store(
            directory,
            CONFIG,
            version,
            durability,
            book=BOOK,
            disk=disk or QuickDisk(),
        )
        self.store._writer = InlineWriter(self.store)
        self.history: list[State] = []
        self.state: State = {}

    def start(self, *, cold: bool = False) -> Life:
        """Take the lock, load, begin."""
        self.store.lock("process 17")
        self.loaded = self.store.load(cold=cold)
        self.state = self.loaded.state or {**BOOK.empty(), "next_id": self.loaded.next_id}
        self.history.append(copy.deepcopy(self.state))
        self.store.begin(self.state)
        return self

    def happens(self, *outcomes: tuple[Any, ...]) -> None:
        """Let things happen, without saving them yet."""
        for outcome in outcomes:
            BOOK.apply(self.state, outcome)
            self.store.append(outcome)
        self.history.append(copy.deepcopy(self.state))

    def turn(self, *outcomes: tuple[Any, ...]) -> None:
        """One turn of the loop."""
        self.happens(*outcomes)
        self.store.commit()
        if self.store.wants_snapshot:
            self.store.snapshot(self.state)

    def create(self, text: str = "job") -> int:
        """Create a job in a turn of its own."""
        job_id: int = self.state["next_id"]
        self.turn(("created", job_id, text))
        return job_id

    def end(self, job_id: int) -> None:
        """End a job in a turn of its own."""
        self.turn(("ended", job_id))

    def busy(self) -> None:
        """Some turns, among them one of several outcomes."""
        first = self.create()
        second: int = self.state["next_id"]
        self.turn(("created", second, "x"), ("ended", first), ("created", second + 1, "y"))
        self.end(second)

    def stop(self, clean: bool = True) -> None:
        """End in order."""
        self.store.close(self.state, clean)

    def die(self) -> None:
        """End without a word."""
        self.store.abandon()


Lives = Callable[..., Life]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """A clock that the test moves."""
    return FakeTime(monkeypatch)


@pytest.fixture
def lives() -> Iterator[Lives]:
    """Make a life that ends with the test, at the latest."""
    made: list[Life] = []

    def make(*args: Any, **kwargs: Any) -> Life:
        made.append(Life(*args, **kwargs))
        return made[-1]

    yield make
    for life in made:
        life.die()


def found(directory: Path, version: str = "1.0.0") -> Recovered:
    """What the next start would find."""
    return recover(Names(directory, CONFIG), version, BOOK, Disk())


def found_state(directory: Path, version: str = "1.0.0") -> State:
    """The state that the next start would begin with."""
    recovered = found(directory, version)
    return recovered.state or {**BOOK.empty(), "next_id": recovered.next_id}
