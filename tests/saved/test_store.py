"""The store: starts and stops, generations, levels, lock and crash points."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spalloc_server._saved import generation
from spalloc_server._saved import store as _store
from spalloc_server._saved.crash_points import POINTS, CrashingDisk, kill_at
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.generation import Generation
from spalloc_server._saved.store import Loaded, Store, StoreError
from tests.support.store_disks import FailingDisk, FakeBook, RecordingDisk, files_in
from tests.support.store_life import (
    BOOK,
    CONFIG,
    JOURNAL,
    LOCK,
    STATE,
    FakeTime,
    InlineWriter,
    Life,
    Lives,
    ManualSyncer,
    found,
    found_state,
    lives,
    syncers,
    time,
)

__all__ = (
    "lives",
    "syncers",
    "time",
)


# --- starts and stops ---


def test_a_first_start_knows_nothing(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()

    assert life.loaded == Loaded(None, True, 1, [])


def test_a_clean_stop_leaves_one_file_with_everything(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()

    life.stop()

    assert list(files_in(tmp_path)) == [STATE]
    assert stat.S_IMODE((tmp_path / STATE).stat().st_mode) == 0o600
    again = lives(tmp_path).start()
    assert again.loaded == Loaded(life.state, True, 4, [])


def test_a_crash_loses_nothing_committed(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()
    saved = dict(life.state, jobs=dict(life.state["jobs"]))
    life.happens(("created", 4, "never committed"))

    life.die()

    again = lives(tmp_path).start()
    assert again.loaded == Loaded(saved, False, 4, [])


def test_a_stop_that_is_not_clean_says_so(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()

    life.stop(clean=False)

    assert list(files_in(tmp_path)) == [STATE]
    assert lives(tmp_path).start().loaded == Loaded(life.state, False, 4, [])


def test_what_was_appended_but_not_committed_is_in_the_last_snapshot(
    tmp_path: Path, lives: Lives
) -> None:
    life = lives(tmp_path).start()
    life.happens(("created", 1, "x"))

    life.stop()

    assert found_state(tmp_path) == life.state


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_without_the_state_file_of_a_clean_stop_no_job_is_known(
    tmp_path: Path, how: str, lives: Lives
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.stop()

    if how == "deleted":
        (tmp_path / STATE).unlink()
    else:
        (tmp_path / STATE).write_bytes(b"")

    assert lives(tmp_path).start().loaded == Loaded(None, True, 1, [])
    assert sorted(files_in(tmp_path)) == [JOURNAL, LOCK, STATE]


def test_without_the_state_file_of_a_crash_no_job_is_known_but_ids_go_on(
    tmp_path: Path, lives: Lives
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.die()
    (tmp_path / STATE).unlink()

    again = lives(tmp_path).start()

    assert again.loaded.state is None
    assert again.loaded.next_id == 4
    assert not again.loaded.clean
    assert JOURNAL in again.loaded.notes[0]
    assert (tmp_path / f"{JOURNAL}.unreadable.1").exists()


def test_begin_takes_over_what_was_appended_before_it(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path)
    life.store.lock("x")
    life.store.load()
    life.state = BOOK.empty()
    life.happens(("created", 1, "x"))
    life.store.commit()
    position = life.store.position
    life.store.begin(dict(life.state, jobs=dict(life.state["jobs"])), position)
    life.turn(("created", 2, "y"))

    life.die()

    assert found_state(tmp_path) == life.state


def test_a_store_that_never_began_wants_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, "a.cfg", "1.0.0", book=FakeBook())
    store.load()

    assert not store.wants_snapshot
    store.close({"next_id": 1})

    assert files_in(tmp_path) == {}


def test_closing_twice_or_abandoning_afterwards_is_harmless(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()

    life.stop()
    life.stop()
    life.die()

    assert list(files_in(tmp_path)) == [STATE]


def test_a_constructor_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, lives: Lives
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.die()
    before = files_in(tmp_path)

    life = lives(tmp_path)
    life.store.lock("x")
    life.store.load()
    life.die()

    assert files_in(tmp_path) == before


def test_a_state_that_cannot_be_written_is_told_at_the_start(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path)
    life.store.load()

    with pytest.raises(TypeError):
        life.store.begin({"next_id": 1, "x": object()})


def test_there_are_three_durabilities(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sometimes"):
        Store(tmp_path, CONFIG, "1.0.0", "sometimes", book=BOOK)


def test_a_label_keeps_states_apart(tmp_path: Path) -> None:
    for label in ("", "simulated"):
        store = Store(tmp_path, CONFIG, "1.0.0", label=label, book=BOOK)
        store.lock("x")
        assert store.load().state is None
        store.begin({"next_id": 7, "jobs": {1: label}})
        store.close({"next_id": 7, "jobs": {1: label}})

    assert list(files_in(tmp_path)) == [".a.cfg.simulated.state.1.0.0", STATE]


def test_a_cold_start_reads_no_state_and_replaces_it(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path, version="1.5").start()
    life.busy()
    life.die()

    cold = lives(tmp_path).start(cold=True)

    assert cold.loaded.state is None
    assert cold.loaded.next_id == 4  # above those that the journal tells
    assert sorted(files_in(tmp_path)) == [JOURNAL, LOCK, STATE]
    cold.die()
    assert found(tmp_path).generation > 1


# --- traces of an earlier state ---


def traces(lives: Lives, folder: Path, *, cold: bool = False) -> list[str]:
    life = lives(folder)
    life.store.lock("process 18")
    found = life.store.load(cold=cold).traces
    life.die()
    return found


def test_an_empty_folder_has_no_traces(tmp_path: Path, lives: Lives) -> None:
    assert traces(lives, tmp_path) == []


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("way", ["stop", "die"])
def test_a_state_whose_ids_are_known_is_no_trace(
    tmp_path: Path, lives: Lives, cold: bool, way: str
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    getattr(life, way)()

    assert traces(lives, tmp_path, cold=cold) == []


def test_a_lock_that_was_left_behind_is_a_trace(tmp_path: Path, lives: Lives) -> None:
    (tmp_path / LOCK).write_text("process 7\n")

    assert traces(lives, tmp_path) == [LOCK]


@pytest.mark.parametrize(
    "name",
    [
        f"{STATE}.unreadable.1",
        f"{JOURNAL}.unreadable.3",
        ".a.cfg.state.1!7.0.0",
        JOURNAL,
        ".a.cfg.events.0000000000000003",
        f"{STATE}.tmp",
    ],
)
def test_a_file_that_cannot_tell_its_ids_is_a_trace(
    tmp_path: Path, lives: Lives, name: str
) -> None:
    (tmp_path / name).touch(mode=0o600)
    (tmp_path / name).write_bytes(b"damaged")

    assert traces(lives, tmp_path) == [name]


def test_a_damaged_snapshot_is_a_trace(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.stop()
    path = tmp_path / STATE
    path.write_bytes(b"x" + path.read_bytes())

    assert traces(lives, tmp_path) == [STATE]


def test_another_configurations_files_are_no_trace(tmp_path: Path, lives: Lives) -> None:
    (tmp_path / ".b.cfg.state.1.0.0.unreadable.1").touch()
    (tmp_path / ".a.cfg.control").touch()

    assert traces(lives, tmp_path) == []


# --- generations ---


def test_each_snapshot_is_a_generation_of_its_own(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()

    life.store.snapshot(life.state)

    assert found(tmp_path).generation == 2
    assert found_state(tmp_path) == life.state
    life.busy()
    life.die()
    assert found_state(tmp_path) == life.state
    assert life.store.snapshots == 2


def test_what_was_appended_after_the_snapshots_state_is_kept(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()
    position = life.store.position
    taken = dict(life.state, jobs=dict(life.state["jobs"]))
    life.happens(("created", 9, "meanwhile"))

    life.store.snapshot(taken, position)

    assert found_state(tmp_path) == taken
    assert life.store.pending
    life.store.commit()
    assert found_state(tmp_path) == life.state


def test_no_snapshot_is_wanted_while_one_is_under_way(tmp_path: Path, lives: Lives) -> None:
    class SlowWriter(InlineWriter):
        def write(self, generation: Generation) -> None:
            under_way.append(generation)

    under_way: list[Generation] = []
    life = lives(tmp_path).start()
    life.store._writer = SlowWriter(life.store)
    life.store.renew()
    assert life.store.wants_snapshot
    life.store.snapshot(life.state)

    life.store.renew()
    assert not life.store.wants_snapshot
    under_way[0].write()
    life.store.settle()

    assert life.store.wants_snapshot
    assert len(under_way) == 1


def test_a_position_of_the_past_is_refused(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()

    with pytest.raises(ValueError, match="position 1 "):
        life.store.snapshot(life.state, 1)


def test_a_journal_that_has_grown_wants_a_snapshot(
    tmp_path: Path, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "SMALLEST_LIMIT", 3000)
    life = lives(tmp_path).start()

    sizes = []
    for _ in range(200):
        life.create("x" * 100)
        life.end(life.state["next_id"] - 1)
        sizes.append(life.store.journal_bytes)

    assert max(sizes) < 3300
    assert life.store.snapshots > 5
    life.die()
    assert found_state(tmp_path) == life.state


def test_a_large_state_may_have_a_large_journal(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.create("x" * 1_000_000)
    life.store.snapshot(life.state)

    for _ in range(3):
        life.create("x" * 1_000_000)

    assert life.store.snapshots == 2
    for _ in range(2):
        life.create("x" * 1_000_000)
    assert life.store.snapshots == 3


def test_one_turn_counts_as_a_whole_or_not_at_all(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.create()
    before = dict(life.state, jobs=dict(life.state["jobs"]))
    life.turn(("created", 2, "x"), ("ended", 1), ("created", 3, "y"))
    life.die()
    journal = tmp_path / JOURNAL
    data = journal.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1

    for cut in range(last, len(data)):
        journal.write_bytes(data[:cut])
        assert found_state(tmp_path) == before
    for place in range(last, len(data)):
        journal.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert found_state(tmp_path)["jobs"] == before["jobs"]


def test_a_journal_cut_anywhere_gives_a_state_that_existed(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.die()
    journal = tmp_path / JOURNAL
    data = journal.read_bytes()

    seen = []
    for cut in range(len(data) + 1):
        journal.write_bytes(data[:cut])
        state = found_state(tmp_path)
        seen.append(life.history.index(state))

    assert seen == sorted(seen)
    assert set(seen) == set(range(len(life.history)))


def test_a_record_that_does_not_fit_ends_the_journal_but_not_its_ids(
    tmp_path: Path, lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    saved = dict(life.state, jobs=dict(life.state["jobs"]))
    for outcomes in ([("created", 50, "half"), ("nonsense", 1)], [("created", 60, "after")]):
        for outcome in outcomes:
            life.store.append(outcome)
        life.store.commit()
    life.die()

    again = lives(tmp_path).start()

    assert again.loaded.state == {**saved, "next_id": 61}
    assert "does not fit" in again.loaded.notes[0]
    assert (tmp_path / f"{JOURNAL}.unreadable.1").exists()


def test_ids_go_on_above_those_of_damaged_records(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    for _ in range(5):
        life.create()
    life.die()
    journal = tmp_path / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"damaged\n", *lines[4:]]))

    again = lives(tmp_path).start()

    assert set(again.state["jobs"]) == {1, 2}
    assert again.state["next_id"] == again.loaded.next_id == 6


# --- levels ---


def calls_of(life: Life, disk: FailingDisk, act: Callable[[], None]) -> list[str]:
    disk.calls.clear()
    act()
    return list(disk.calls)


@pytest.mark.parametrize(
    ("durability", "calls"), [("process", ["write"]), ("always", ["write"]), ("none", [])]
)
def test_a_commit_costs_what_its_level_needs(
    tmp_path: Path, durability: str, calls: list[str], syncers: list[ManualSyncer]
) -> None:
    disk = FailingDisk()
    life = Life(tmp_path, disk, durability=durability).start()
    life.happens(("created", 1, "x"), ("created", 2, "y"))

    assert calls_of(life, disk, life.store.commit) == calls
    assert calls_of(life, disk, life.store.commit) == []
    assert life.store.safe == (0 if durability == "always" else 2)
    expected = [] if durability == "none" else ["fsync"]
    assert calls_of(life, disk, syncers[-1].now) == expected
    life.store.settle()
    assert life.store.safe == 2
    life.die()


def test_the_thread_fsyncs_what_the_loop_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = threading.Event()

    class Watched(Disk):
        def fsync(self, fd: int) -> None:
            super().fsync(fd)
            if threading.current_thread().name == "journal-sync":
                synced.set()

    monkeypatch.setattr(_store, "SECONDS_UNTIL_FSYNC", 0.0)
    life = Life(tmp_path, Watched()).start()

    life.create()

    assert synced.wait(10)
    life.stop()


def test_none_saves_at_a_clean_stop_only(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path, durability="none").start()
    life.busy()
    assert found_state(tmp_path)["jobs"] == {}
    assert not (tmp_path / JOURNAL).exists()
    assert not life.store.wants_snapshot

    life.store.snapshot(life.state)
    assert found_state(tmp_path)["jobs"] == {}
    life.stop()

    assert found(tmp_path).state == life.state
    assert found(tmp_path).clean


def test_with_none_a_crash_is_not_taken_for_the_clean_stop_before(
    tmp_path: Path, lives: Lives
) -> None:
    life = lives(tmp_path, durability="none").start()
    life.stop()
    again = lives(tmp_path, durability="none").start()
    again.die()

    assert not found(tmp_path).clean


def test_with_none_no_id_comes_again_after_a_crash(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path, durability="none").start()
    life.busy()
    life.die()
    again = lives(tmp_path, durability="none").start()
    first = again.create()
    assert first > life.state["next_id"]
    again.stop()

    assert lives(tmp_path).start().create() == first + 1


def test_the_level_can_change_while_running(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()

    life.happens(("created", 7, "before"))
    life.store.durability = "none"
    saved = dict(life.state["jobs"])
    assert found_state(tmp_path) == life.state
    life.turn()  # the last one that saves, so that ids can be reserved
    life.busy()
    assert found_state(tmp_path)["jobs"] == saved
    assert not (tmp_path / JOURNAL).exists()

    life.store.durability = "always"
    assert life.store.wants_snapshot
    life.store.snapshot(life.state)
    life.busy()
    life.store.durability = "process"
    life.store.durability = "process"
    assert not life.store.wants_snapshot
    life.busy()
    life.die()
    assert found_state(tmp_path) == life.state


def test_a_level_set_before_the_start_is_the_level(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path, durability="none")
    life.store.durability = "always"

    life.start()
    life.busy()

    assert not life.store.wants_snapshot
    assert found_state(tmp_path) == life.state


# --- the lock ---


def test_a_second_server_is_told_who_holds_the_state(tmp_path: Path, lives: Lives) -> None:
    lives(tmp_path).store.lock("process 17 on host a, port 22244")

    with pytest.raises(StoreError, match="process 17 on host a, port 22244"):
        lives(tmp_path).store.lock("process 18")


def test_the_lock_may_say_more_later(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path)
    life.store.lock("process 17, port not known yet, a long text")
    life.store.lock("process 17, port 5")

    with pytest.raises(StoreError, match="by process 17, port 5 "):
        lives(tmp_path).store.lock("process 18")


def test_a_lock_ends_with_its_holder(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path)
    life.store.lock("process 17")
    life.die()
    assert not (tmp_path / LOCK).exists()

    lives(tmp_path).store.lock("process 18")


def test_a_lock_left_by_a_crash_is_no_lock(tmp_path: Path, lives: Lives) -> None:
    (tmp_path / LOCK).write_text("process 17")

    lives(tmp_path).store.lock("process 18")

    assert (tmp_path / LOCK).read_text() == "process 18\n"


def test_a_lock_removed_by_its_holder_in_between_is_taken_anew(tmp_path: Path) -> None:
    """The second opens the file, and locks it only when the first has removed it."""
    first, second = Store(tmp_path, CONFIG, "1", book=BOOK), None

    class Late(Disk):
        def open(self, path: Path, flags: int) -> int:
            fd = super().open(path, flags)
            first.abandon()
            return fd

    first.lock("first")
    second = Store(tmp_path, CONFIG, "1", book=BOOK, disk=Late())
    second.lock("second")

    with pytest.raises(StoreError, match="second"):
        Store(tmp_path, CONFIG, "1", book=BOOK).lock("third")
    second.abandon()


def test_a_lock_without_words_is_a_lock(tmp_path: Path, lives: Lives) -> None:
    lives(tmp_path).store.lock("")

    with pytest.raises(StoreError, match="another server"):
        lives(tmp_path).store.lock("process 18")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES])
def test_a_disk_that_gives_no_lock_is_trouble_and_the_lock_taken_later(
    tmp_path: Path, lives: Lives, time: FakeTime, error: int
) -> None:
    disk = FailingDisk()
    disk.fail("open", error=error)
    life = lives(tmp_path, disk).start()
    assert life.store.trouble is not None
    assert os.strerror(error) in life.store.trouble
    life.busy()
    disk.fail()
    time.now += 20

    life.create()

    assert life.store.trouble is None
    assert found_state(tmp_path) == life.state
    with pytest.raises(StoreError, match="process 17"):
        lives(tmp_path).store.lock("x")


def test_another_users_lock_stops_the_start(tmp_path: Path, lives: Lives) -> None:
    (tmp_path / LOCK).touch(0o600)
    disk = FailingDisk()
    disk.fail("open", error=errno.EACCES)

    with pytest.raises(StoreError, match="Permission denied"):
        lives(tmp_path, disk).store.lock("process 18")


def test_a_file_system_without_locks_stops_the_start(
    tmp_path: Path, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)

    with pytest.raises(StoreError, match="No locks available"):
        lives(tmp_path).store.lock("process 18")


def test_who_got_the_lock_meanwhile_is_not_written_over(
    tmp_path: Path, lives: Lives, time: FakeTime
) -> None:
    disk = FailingDisk()
    disk.fail("open", error=errno.EROFS)
    life = lives(tmp_path, disk).start()
    other = lives(tmp_path).start()
    other.busy()
    disk.fail()
    time.now += 20

    life.create()

    assert "in use" in (life.store.trouble or "")
    assert found_state(tmp_path) == other.state


# --- crash points ---


class MarkingDisk(CrashingDisk, RecordingDisk):
    """Writes the points down among the calls."""

    def __init__(self, ignored: str) -> None:
        CrashingDisk.__init__(self, self.mark)
        RecordingDisk.__init__(self, ignored)


def test_every_crash_point_is_passed_in_its_place(
    tmp_path: Path, syncers: list[ManualSyncer]
) -> None:
    disk = MarkingDisk(ignored=".lock")
    life = Life(tmp_path, disk).start()
    disk.ops.clear()

    life.create()
    life.store.snapshot(life.state)

    assert [op.what for op in disk.ops] == [
        "before-write",
        "write",
        "mid-write",
        "write",
        "before-reply",
        "name",
        "write",
        "name",
        "write",
        "mid-snapshot",
        "write",
        "fsync",
        "fsync",
        "sync_directory",
        "before-rename",
        "rename",
        "after-rename",
        "sync_directory",
        "during-rotation",
        "rename",
        "sync_directory",
    ]
    assert {op.what for op in disk.ops} >= set(POINTS)
    life.die()


PROGRAM = """
import sys
from spalloc_server._saved.crash_points import CrashingDisk, kill_at
from spalloc_server._saved.syncer import Syncer
from spalloc_server._saved.store import Store
from tests.support.store_disks import FakeBook
directory, point = sys.argv[1:]
store = Store(directory, "a.cfg", "1.0.0", book=FakeBook(), disk=CrashingDisk(kill_at(point)))
store.lock("x")
state = store.load().state or FakeBook().empty()
store.begin(state)
for _ in range(10):
    job_id = state["next_id"]
    outcome = ("created", job_id, "x")
    FakeBook().apply(state, outcome)
    store.append(outcome)
    store.commit()
    print(job_id, flush=True)
    if job_id % 3 == 0:
        store.snapshot(state)
        while store._next is not None:
            store.wait_for_news(10**9, 1)
            store.settle()
print("not killed")
"""


@pytest.mark.parametrize("point", sorted(POINTS))
def test_a_process_killed_at_a_point_is_recovered_from(tmp_path: Path, point: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), f"{point}:3"],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == -9, ran.stderr
    answered = [int(line) for line in ran.stdout.split()]
    state = found_state(tmp_path)
    assert set(state["jobs"]) - set(answered) <= {len(answered) + 1}
    assert set(answered) <= set(state["jobs"])


def test_a_process_is_killed_the_nth_time(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    hook = kill_at("before-reply:2")

    for point in ("before-reply", "before-write"):
        hook(point)
    assert killed == []

    hook("before-reply")
    assert killed == [(os.getpid(), signal.SIGKILL)]


@pytest.mark.parametrize("text", ["nowhere", "before-write:0", "before-write:x", ""])
def test_a_crash_point_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        kill_at(text)


# --- a folder that is a symbolic link ---


def test_a_folder_may_be_a_symbolic_link(tmp_path: Path, lives: Lives) -> None:
    (tmp_path / "private").mkdir()
    folder = tmp_path / "state"
    folder.symlink_to("private")
    life = lives(folder, Disk()).start()
    life.busy()
    life.store.snapshot(life.state)
    life.busy()

    assert life.store.trouble is None
    assert life.store.snapshots == 2
    life.die()
    assert found_state(tmp_path / "private") == life.state
