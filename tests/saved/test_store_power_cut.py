"""Every moment at which the power, or the process, can go.

A server's whole life is recorded: writes, fsyncs, renames, removals, and the
replies between them.  After each of them every state of the disk that a power
cut could leave is made, and recovered from.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.store_disks import (
    Files,
    Op,
    PowerCut,
    RecordingDisk,
    State,
    files_in,
    put_files,
)
from tests.support.store_life import Life, ManualSyncer, found, found_state, syncers

__all__ = ("syncers",)

DURABILITIES = ("process", "always", "none")


class Recording:
    """A life, and for each of its steps what must be found after a cut there."""

    def __init__(self, directory: Path, disk: RecordingDisk, durability: str) -> None:
        self.before = files_in(directory)
        self.disk = disk
        self.durability = durability
        self.life = Life(directory, disk, durability=durability)
        #: What was recovered from, and what was found: much is the same after the next step.
        self.found: dict[frozenset[tuple[str, bytes]], State] = {}

    def answered(self) -> None:
        """Note that what happened so far was answered."""
        self.disk.mark("answered", len(self.life.history) - 1)

    def on_disk(self) -> None:
        """Note that what happened so far is to survive a power cut."""
        self.disk.mark("on disk", len(self.life.history) - 1)

    def prefixes(self) -> Iterator[tuple[list[Op], int, int]]:
        """Steps so far, what was answered by then, what is on disk by then."""
        answered = on_disk = 0
        for count, op in enumerate(self.disk.ops):
            if op.what == "answered":
                answered = op.size
            if op.what == "on disk":
                on_disk = op.size
            yield self.disk.ops[: count + 1], answered, on_disk

    def check(self, room: Path, files: Files, least: int) -> None:
        """Find a state that existed, no older than the one of that number."""
        key = frozenset(files.items())
        if key not in self.found:
            put_files(room, files)
            self.found[key] = found_state(room)
        state = self.found[key]
        history = self.life.history
        same = [turn for turn, then in enumerate(history) if then["jobs"] == state["jobs"]]
        assert same, f"never existed: {state}"
        assert same[-1] >= least, f"lost: {state}"
        # Ids may be known from records that do not count themselves.
        assert state["next_id"] >= history[same[-1]]["next_id"], f"ids lost: {state}"


def whole_life(recording: Recording, syncers: list[ManualSyncer]) -> None:
    """Everything that a store does, in one life."""
    life = recording.life
    keeps = recording.durability != "none"
    always = recording.durability == "always"

    def turns() -> None:
        for _ in range(2):
            life.busy()
            if always:
                syncers[-1].now()
                life.store.settle()
            assert life.store.safe == life.store.position
            if keeps:
                recording.answered()
            if always:
                recording.on_disk()

    life.start()
    turns()
    syncers[-1].now()
    if keeps:
        recording.on_disk()
    life.create()
    life.happens(("created", 900, "not yet committed"))
    life.store.snapshot(life.state)
    if keeps:
        recording.answered()
        recording.on_disk()
    turns()
    life.store.snapshot(life.state)
    life.create()
    life.stop()
    recording.answered()
    recording.on_disk()


# --- what a life may begin with ---


def nothing(directory: Path) -> None:
    pass


def a_clean_stop(directory: Path) -> None:
    life = Life(directory).start()
    life.busy()
    life.stop()


def a_crash(directory: Path) -> None:
    life = Life(directory).start()
    life.busy()
    life.die()


def a_torn_journal(directory: Path) -> None:
    a_crash(directory)
    journal = directory / ".a.cfg.journal"
    journal.write_bytes(journal.read_bytes()[:-3])


def an_older_versions_crash(directory: Path) -> None:
    life = Life(directory, version="0.9").start()
    life.busy()
    life.die()


def a_damaged_state(directory: Path) -> None:
    a_crash(directory)
    state = directory / ".a.cfg.state.1.0.0"
    state.write_bytes(state.read_bytes()[:-3])


BEGINNINGS = (
    nothing,
    a_clean_stop,
    a_crash,
    a_torn_journal,
    an_older_versions_crash,
    a_damaged_state,
)


def recorded(
    beginning: Callable[[Path], None],
    durability: str,
    directory: Path,
    syncers: list[ManualSyncer],
    disk: RecordingDisk | None = None,
) -> Recording:
    directory.mkdir()
    beginning(directory)
    (directory / ".a.cfg.lock").unlink(missing_ok=True)
    recording = Recording(directory, disk or RecordingDisk(ignored=".lock"), durability)
    whole_life(recording, syncers)
    return recording


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("beginning", BEGINNINGS, ids=lambda b: b.__name__)
def test_whatever_a_power_cut_leaves_is_recovered_from(
    beginning: Callable[[Path], None],
    durability: str,
    tmp_path: Path,
    syncers: list[ManualSyncer],
) -> None:
    recording = recorded(beginning, durability, tmp_path / "state", syncers)

    for ops, _, on_disk in recording.prefixes():
        for files in PowerCut(recording.before, ops).outcomes():
            recording.check(tmp_path / "room", files, on_disk)

    assert len(recording.found) > (10 if durability == "none" else 40)


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("beginning", BEGINNINGS, ids=lambda b: b.__name__)
def test_a_process_that_dies_loses_nothing_answered(
    beginning: Callable[[Path], None],
    durability: str,
    tmp_path: Path,
    syncers: list[ManualSyncer],
) -> None:
    recording = recorded(beginning, durability, tmp_path / "state", syncers)

    for ops, answered, _ in recording.prefixes():
        recording.check(tmp_path / "room", PowerCut(recording.before, ops).killed(), answered)
        if ops[-1].what == "write":
            data = ops[-1].data
            for cut in {0, 1, len(data) // 2, len(data) - 1}:
                torn = [*ops[:-1], ops[-1]._replace(data=data[:cut])]
                files = PowerCut(recording.before, torn).killed()
                recording.check(tmp_path / "room", files, answered)


def test_a_cut_during_the_start_after_a_cut_is_recovered_from(
    tmp_path: Path, syncers: list[ManualSyncer]
) -> None:
    recording = recorded(nothing, "always", tmp_path / "state", syncers)
    room = tmp_path / "room"

    for ops, answered, _ in list(recording.prefixes())[::3]:
        files = PowerCut(recording.before, ops).killed()
        put_files(room, files)
        disk = RecordingDisk(ignored=".lock")
        again = Life(room, disk, durability="always").start()
        again.die()
        for count in range(len(disk.ops)):
            for cut in PowerCut(files, disk.ops[: count + 1]).outcomes():
                recording.check(tmp_path / "second", cut, answered)


def test_no_id_that_was_answered_comes_again(tmp_path: Path, syncers: list[ManualSyncer]) -> None:
    recording = recorded(a_damaged_state, "always", tmp_path / "state", syncers)

    for ops, _, on_disk in recording.prefixes():
        for files in PowerCut(recording.before, ops).outcomes():
            put_files(tmp_path / "room", files)
            least = recording.life.history[on_disk]["next_id"]
            assert found(tmp_path / "room").next_id >= least


# --- the test is able to fail ---


class NoFsync(RecordingDisk):
    """Forgets to fsync files."""

    def fsync(self, fd: int) -> None:
        """Do nothing, so that nothing is recorded."""


class NoDirectoryFsync(RecordingDisk):
    """Forgets to fsync the directory."""

    def sync_directory(self, directory: Path) -> None:
        """Do nothing, so that nothing is recorded."""


class NotAtomic(RecordingDisk):
    """Writes over files instead of renaming."""

    def rename(self, old: Path, new: Path) -> None:
        if new.exists():
            self.unlink(new)
        super().rename(old, new)


@pytest.mark.parametrize("disk", [NoFsync, NoDirectoryFsync, NotAtomic])
def test_a_store_that_left_something_out_would_be_found(
    disk: type[RecordingDisk], tmp_path: Path, syncers: list[ManualSyncer]
) -> None:
    recording = recorded(
        a_clean_stop, "always", tmp_path / "state", syncers, disk(ignored=".lock")
    )

    with pytest.raises(AssertionError, match=r"lost|never existed"):
        for ops, _, on_disk in recording.prefixes():
            for files in PowerCut(recording.before, ops).outcomes():
                recording.check(tmp_path / "room", files, on_disk)


def test_the_room_is_left_empty_in_between(tmp_path: Path) -> None:
    put_files(tmp_path / "room", {"a": b"1"})
    put_files(tmp_path / "room", {"b": b"2"})

    assert files_in(tmp_path / "room") == {"b": b"2"}
    shutil.rmtree(tmp_path / "room")
