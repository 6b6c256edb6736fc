"""Records that are written while the next generation is put into place.

At each step of the snapshot's thread the loop writes one more record, in the same thread here.
After each call of either, every state of the disk that a power cut or a kill could leave is
recovered from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spalloc_server._saved import journal_contents
from spalloc_server._saved.saved_file import first_line
from tests.saved.test_store_power_cut import BEGINNINGS, Recording
from tests.support.store_disks import FailingDisk, PowerCut, RecordingDisk, files_in
from tests.support.store_life import (
    JOURNAL,
    Lives,
    ManualSyncer,
    found,
    found_state,
    lives,
    syncers,
)

__all__ = ("lives", "syncers")


class BusyDisk(RecordingDisk):
    """Has something done before each of its own calls, while it is told to."""

    def __init__(self) -> None:
        super().__init__(ignored=".lock")
        self.meanwhile: Callable[[], None] | None = None

    def _let_others(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
            self.meanwhile = meanwhile

    def open(self, path: Path, flags: int) -> int:
        self._let_others()
        return super().open(path, flags)

    def write(self, fd: int, data: bytes) -> int:
        self._let_others()
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._let_others()
        super().fsync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._let_others()
        super().rename(old, new)
        self._let_others()

    def sync_directory(self, directory: Path) -> None:
        self._let_others()
        super().sync_directory(directory)
        self._let_others()


@pytest.mark.parametrize("durability", ["process", "always"])
@pytest.mark.parametrize("beginning", BEGINNINGS[::2], ids=lambda b: b.__name__)
def test_records_written_during_each_step_are_in_one_pair_or_the_other(
    beginning: Callable[[Path], None],
    durability: str,
    tmp_path: Path,
    syncers: list[ManualSyncer],
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    beginning(folder)
    (folder / ".a.cfg.lock").unlink(missing_ok=True)
    disk = BusyDisk()
    recording = Recording(folder, disk, durability)
    life = recording.life
    life.start()
    life.busy()
    records = 0

    def turn() -> None:
        nonlocal records
        if life.store._next is None or life.store._next.done:
            return
        records += 1
        job_id = life.state["next_id"]
        life.happens(("created", job_id, "meanwhile"))
        life.store.commit()
        if durability == "always":
            syncers[-1].now()
            recording.on_disk()
        assert life.store.safe == life.store.position
        recording.answered()

    for _ in range(2):
        disk.meanwhile = turn
        life.store.snapshot(dict(life.state, jobs=dict(life.state["jobs"])))
        disk.meanwhile = None
        life.busy()
        if durability == "always":
            syncers[-1].now()
        recording.answered()
    life.stop()

    assert records > 10
    room = tmp_path / "room"
    for ops, answered, on_disk in recording.prefixes():
        recording.check(room, PowerCut(recording.before, ops).killed(), answered)
        for files in PowerCut(recording.before, ops).outcomes():
            recording.check(room, files, on_disk)


def test_the_new_journal_is_found_under_its_temporary_name(
    tmp_path: Path, lives: Lives
) -> None:
    disk = FailingDisk()
    life = lives(tmp_path, disk).start()
    life.busy()
    rename = disk.rename

    def only_snapshots(old: Path, new: Path) -> None:
        if new.name == JOURNAL:
            raise OSError(5, "Input/output error")
        rename(old, new)

    disk.rename = only_snapshots  # type: ignore[method-assign]
    life.store.snapshot(life.state)
    life.store.commit()
    life.create()
    life.create()

    assert "Input/output error" in (life.store.trouble or "")
    assert (tmp_path / f"{JOURNAL}.tmp").exists()
    life.die()
    assert found_state(tmp_path) == life.state
    again = lives(tmp_path).start()
    assert again.state == life.state
    again.busy()
    again.die()
    assert not (tmp_path / f"{JOURNAL}.tmp").exists()
    assert found_state(tmp_path) == again.state


def test_a_damaged_journal_under_its_temporary_name_is_kept_aside(
    tmp_path: Path, lives: Lives
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.die()
    journal_file = tmp_path / JOURNAL
    lines = journal_file.read_bytes().splitlines(keepends=True)
    (tmp_path / f"{JOURNAL}.tmp").touch(mode=0o600)
    (tmp_path / f"{JOURNAL}.tmp").write_bytes(b"".join([*lines[:-1], b"damaged\n"]))
    journal_file.unlink()

    again = lives(tmp_path).start()

    assert len(again.loaded.notes) == 1
    assert (tmp_path / f"{JOURNAL}.unreadable.1").exists()
    again.busy()
    again.die()
    assert found_state(tmp_path) == again.state


def test_an_unfinished_journal_of_a_snapshot_that_never_came_is_removed(
    tmp_path: Path, lives: Lives
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    saved = files_in(tmp_path)
    life.die()
    line = first_line(saved[JOURNAL]).replace(b'"generation":1', b'"generation":2')
    for content in (b"", line[:20], line):
        (tmp_path / f"{JOURNAL}.tmp").touch(mode=0o600)
        (tmp_path / f"{JOURNAL}.tmp").write_bytes(content)

        recovered = found(tmp_path)

        assert recovered.state == life.state
        assert recovered.notes == []
        assert tmp_path / f"{JOURNAL}.tmp" in recovered.superseded


def test_both_journals_get_every_record(tmp_path: Path, lives: Lives) -> None:
    disk = BusyDisk()
    life = lives(tmp_path, disk).start()
    life.busy()
    payloads: list[bytes] = []

    def turn() -> None:
        if not payloads and life.store._next is not None:
            life.happens(("created", 77, "meanwhile"))
            life.store.commit()
            for name in (JOURNAL, f"{JOURNAL}.tmp"):
                data = (tmp_path / name).read_bytes()
                payloads.append(journal_contents.read(data).payloads[-1])

    disk.meanwhile = turn
    life.store.snapshot(life.state)
    disk.meanwhile = None

    assert payloads == [b'[["created",77,"meanwhile"]]'] * 2
    life.die()


def test_a_state_that_only_a_snapshot_can_save_is_safe_when_it_is_there(
    tmp_path: Path, lives: Lives
) -> None:
    """Replies wait for it; a failure ends the waiting, and is told."""
    disk = BusyDisk()
    life = lives(tmp_path, disk, durability="none").start()
    life.store.durability = "process"
    life.happens(("created", 1, "x"))
    life.store.commit()
    assert life.store.lacks_journal
    seen: list[tuple[int, int]] = []
    disk.meanwhile = lambda: seen.append((life.store.safe, life.store.position))

    life.store.snapshot(life.state)

    disk.meanwhile = None
    assert set(seen[1:]) == {(0, 1)}
    assert life.store.safe == 1
    assert not life.store.lacks_journal
    life.die()
    assert found_state(tmp_path) == life.state


class MeanwhileDisk(FailingDisk):
    """Has something done during the next fsync, as the loop does beside a slow one."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], None] | None = None

    def fsync(self, fd: int) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        super().fsync(fd)


@pytest.mark.parametrize("generations", [1, 2])
def test_a_journal_that_was_replaced_during_its_own_slow_fsync_is_not_missed(
    tmp_path: Path, lives: Lives, syncers: list[ManualSyncer], generations: int
) -> None:
    disk = MeanwhileDisk()
    life = lives(tmp_path, disk).start()
    life.busy()

    def rotate() -> None:
        for _ in range(generations):
            life.store.snapshot(life.state)
            life.create()

    disk.meanwhile = rotate
    syncers[-1].now()

    assert life.store.trouble is None
    assert life.store.safe == life.store.position
    life.create()
    (tmp_path / JOURNAL).unlink()
    syncers[-1].now()
    assert "removed" in (life.store.trouble or "")
    life.die()


def test_a_journal_is_not_missed_while_a_generation_after_the_next_begins(
    tmp_path: Path, lives: Lives, syncers: list[ManualSyncer]
) -> None:
    disk = MeanwhileDisk()
    life = lives(tmp_path, disk).start()
    life.busy()

    def rotate() -> None:
        life.store.snapshot(life.state)
        begun = life.store._new_generation(dict(life.state))
        assert begun is not None and not begun.counts

    disk.meanwhile = rotate
    syncers[-1].now()

    assert life.store.trouble is None
    life.die()
