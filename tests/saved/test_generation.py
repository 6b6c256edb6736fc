"""A snapshot and its journal, on their way into place."""

import threading
from pathlib import Path

import pytest

from spalloc_server._saved.disk import Disk
from spalloc_server._saved.generation import Generation, Place, SnapshotWriter
from spalloc_server._saved.journal import Journal
from spalloc_server._saved.leftovers import Leftovers
from spalloc_server._saved.lock_file import LockFile
from spalloc_server._saved.recovery import Recovered
from spalloc_server._saved.saved_file import Header, Names, read_header
from tests.support.store_disks import FailingDisk

MIB = 1 << 20


def generation(folder: Path, disk: Disk | None = None, about: str | None = None) -> Generation:
    """A generation without a journal, as at a clean stop."""
    disk, names = disk or Disk(), Names(folder, "a.cfg")
    leftovers = Leftovers(disk, names, names.state("1"), Recovered(), 1)
    place = Place(disk, names, "1", LockFile(disk, names.lock), about, leftovers)
    return Generation(place, {"jobs": 5}, Header("state", 1, 3, "p", 9, "1"), None, 17)


@pytest.mark.parametrize(
    ("snapshot", "limit"),
    [
        (0, 2 * MIB), (MIB // 2, 2 * MIB), (MIB // 2 + 1, 2 * MIB + 4), (MIB, 4 * MIB),
        (4 * MIB - 1, 16 * MIB - 4), (4 * MIB, 16 * MIB), (4 * MIB + 1, 16 * MIB),
        (900 * MIB, 16 * MIB),
    ],
)  # fmt: skip
def test_a_journal_may_be_four_times_its_snapshot_within_bounds(
    tmp_path: Path, snapshot: int, limit: int
) -> None:
    made = generation(tmp_path)
    made.size = snapshot

    assert made.journal_limit == limit


def test_the_last_generation_is_a_snapshot_alone(tmp_path: Path) -> None:
    made = generation(tmp_path)
    (tmp_path / ".a.cfg.journal").write_bytes(b"old")
    assert not made.done
    assert not made.counts
    assert (made.size, made.file, made.newest_seen) == (0, None, 0)

    made.write()

    assert made.done
    assert made.counts
    assert made.failure is None
    assert made.newest_seen == 0
    assert [path.name for path in tmp_path.iterdir()] == [".a.cfg.state.1"]
    data = (tmp_path / ".a.cfg.state.1").read_bytes()
    header = read_header(data, "state", 1, tmp_path)
    assert (header.generation, header.pair, header.next_id) == (3, "p", 9)
    status = (tmp_path / ".a.cfg.state.1").stat()
    assert made.size == len(data) == status.st_size
    assert made.file == (status.st_ino, status.st_size)


def with_journal(folder: Path, disk: Disk) -> tuple[Generation, Journal]:
    """A generation with the journal that follows its snapshot."""
    made = generation(folder, disk)
    new = Names(folder, "a.cfg").new_journal
    made.journal = Journal(disk, new, Header("journal", 1, 3, "p", 9, "1"))
    return made, made.journal


def test_a_journal_gets_its_name_with_its_snapshot(tmp_path: Path) -> None:
    (tmp_path / ".a.cfg.journal").write_bytes(b"old")
    made, journal = with_journal(tmp_path, Disk())
    journal.append([b"[]"])

    made.write()

    assert (made.counts, made.failure) == (True, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.cfg.journal", ".a.cfg.state.1"]
    assert (tmp_path / ".a.cfg.journal").stat().st_size == journal.size
    journal.check()
    journal.close()


def test_a_journal_with_a_gap_makes_a_generation_count_for_nothing(tmp_path: Path) -> None:
    made, journal = with_journal(tmp_path, Disk())
    journal.seal()

    made.write()

    assert not made.counts
    assert made.failure is not None
    assert "No space left on device" in str(made.failure[1])
    assert list(tmp_path.iterdir()) == []
    journal.close()


def test_a_journal_gets_its_name_although_that_of_the_snapshot_is_not_safe(
    tmp_path: Path,
) -> None:
    disk = FailingDisk()
    made, journal = with_journal(tmp_path, disk)

    def fail_once(_number: int, name: str) -> int | None:
        renamed = (tmp_path / ".a.cfg.state.1").exists()
        failed = (tmp_path / ".a.cfg.journal").exists()
        return 5 if name == "sync_directory" and renamed and not failed else None

    disk.failing = fail_once

    made.write()

    assert made.counts
    assert made.failure is not None
    assert made.failure[0] == f"cannot write a snapshot {tmp_path / '.a.cfg.state.1'}"
    assert (tmp_path / ".a.cfg.journal").exists()
    journal.check()
    journal.close()


def test_a_lock_that_is_held_stays_as_it_is(tmp_path: Path) -> None:
    made = generation(tmp_path, about="process 17")
    made._place.lock.acquire("process 17, the same for long")

    made.write()

    assert made.failure is None
    assert (tmp_path / ".a.cfg.lock").read_text() == "process 17, the same for long\n"
    made._place.lock.release()


@pytest.mark.parametrize("about", [None, "process 17"])
def test_the_lock_is_taken_if_there_is_to_be_one(tmp_path: Path, about: str | None) -> None:
    made = generation(tmp_path, about=about)

    made.write()

    assert made.failure is None
    assert (tmp_path / ".a.cfg.lock").exists() == (about is not None)


def test_a_lock_of_others_is_a_failure(tmp_path: Path) -> None:
    others = LockFile(Disk(), tmp_path / ".a.cfg.lock")
    others.acquire("process 5")
    made = generation(tmp_path, about="process 17")

    made.write()

    assert made.done
    assert not made.counts
    assert made.failure is not None
    assert "process 5" in str(made.failure[1])
    others.release()


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_snapshot_that_fails_leaves_nothing_behind(tmp_path: Path, call: str) -> None:
    disk = FailingDisk()
    (tmp_path / ".a.cfg.journal").write_bytes(b"old")
    made = generation(tmp_path, disk)
    disk.fail(call)

    made.write()

    assert made.done
    assert not made.counts
    assert made.failure is not None
    assert made.failure[0].startswith("cannot write a snapshot")
    assert [path.name for path in tmp_path.iterdir()] == [".a.cfg.journal"]


def test_a_journal_whose_snapshot_fails_is_removed_before_the_generation_is_done(
    tmp_path: Path,
) -> None:
    """The next generation may take the temporary name at once."""
    disk = FailingDisk()
    made = generation(tmp_path, disk)
    names = Names(tmp_path, "a.cfg")
    made.journal = Journal(disk, names.new_journal, Header("journal", 1, 3, "p", 9, "1"))
    disk.fail("rename")

    made.write()

    assert not made.counts
    assert list(tmp_path.iterdir()) == []
    made.journal.check()  # it is no alarm that its own side removed it
    made.journal.close()


def test_a_snapshot_whose_name_is_not_safe_counts_and_is_a_failure(tmp_path: Path) -> None:
    disk = FailingDisk()
    made = generation(tmp_path, disk)
    disk.fail("sync_directory")

    made.write()

    assert made.counts
    assert made.failure is not None


def test_a_state_that_cannot_be_written_is_a_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = generation(tmp_path)
    made._state = {"jobs": lambda: None}

    made.write()

    assert made.done
    assert made.failure is not None
    assert "the state cannot be written" in caplog.text


def test_the_writer_tells_when_a_generation_is_done_and_takes_another(tmp_path: Path) -> None:
    told = threading.Semaphore(0)
    writer = SnapshotWriter(told.release)
    writer.start()
    for _ in range(2):
        made = generation(tmp_path)
        writer.write(made)
        assert told.acquire(timeout=30)
        assert made.done

    last = generation(tmp_path)
    writer.write(last)
    writer.stop()
    writer.stop()
    assert last.done, "the end waits for it"


def test_a_writer_that_was_not_started_stops(tmp_path: Path) -> None:
    SnapshotWriter(lambda: None).stop()
