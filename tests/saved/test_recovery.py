"""What a start comes upon: other versions, damage, what is not ours to trust."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest

from spalloc_server._saved import journal_contents
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.recovery import recover
from spalloc_server._saved.saved_file import Names
from spalloc_server._saved.store import Loaded, Store, StoreError
from tests.support.store_disks import FakeBook, State, files_in
from tests.support.store_life import (
    BOOK,
    CONFIG,
    JOURNAL,
    LOCK,
    STATE,
    Life,
    Lives,
    found,
    found_state,
    lives,
)

__all__ = ("lives",)


# --- what it comes upon ---


def test_an_older_versions_state_is_gone_on_with(tmp_path: Path, lives: Lives) -> None:
    old = lives(tmp_path, version="0.9.1").start()
    old.busy()
    old.die()

    new = lives(tmp_path).start()

    assert new.loaded.state == old.state
    assert sorted(files_in(tmp_path)) == [JOURNAL, LOCK, STATE]
    new.stop()
    (tmp_path / STATE).unlink()
    assert found(tmp_path).state is None


def test_a_newer_versions_state_of_a_known_format_is_gone_on_with(
    tmp_path: Path, lives: Lives
) -> None:
    newer = lives(tmp_path, version="1.1.0").start()
    newer.busy()
    newer.stop()

    assert lives(tmp_path).start().loaded.state == newer.state


def test_of_several_states_the_newest_generation_counts(tmp_path: Path, lives: Lives) -> None:
    old = lives(tmp_path, version="0.9").start()
    old.busy()
    old.stop()
    before = (tmp_path / ".a.cfg.state.0.9").read_bytes()
    new = lives(tmp_path).start()
    new.create("only here")
    new.stop()
    (tmp_path / ".a.cfg.state.0.9").touch(0o600)
    (tmp_path / ".a.cfg.state.0.9").write_bytes(before)

    again = lives(tmp_path, version="2.0").start()

    assert again.loaded.state == new.state


def test_a_half_written_state_of_an_older_version_is_removed(tmp_path: Path, lives: Lives) -> None:
    left = tmp_path / ".a.cfg.state.0.9.tmp"
    left.touch(0o600)

    lives(tmp_path).start()

    assert not left.exists()


def test_a_damaged_state_is_kept_aside_and_ids_go_on(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.stop()
    state = tmp_path / STATE
    damaged = state.read_bytes()[:-1]
    state.write_bytes(damaged)

    again = lives(tmp_path).start()

    assert again.loaded.state is None
    assert again.loaded.next_id == 4
    assert not again.loaded.clean
    assert "kept aside" in again.loaded.notes[0]
    assert (tmp_path / f"{STATE}.unreadable.1").read_bytes() == damaged
    again.die()
    assert found(tmp_path).state == again.state


@pytest.mark.parametrize("version", ["1.0.0", "0.9"])
def test_a_state_that_contradicts_itself_is_kept_aside(
    tmp_path: Path, lives: Lives, version: str
) -> None:
    life = lives(tmp_path, version=version).start()
    life.busy()
    life.die()
    kept = {path.name: path.read_bytes() for path in tmp_path.glob(".a.cfg.*")}
    assert len(kept) == 2
    store = Life(tmp_path).store
    store.lock("process 17")
    loaded = store.load()

    store.reject()
    store.begin({**BOOK.empty(), "next_id": loaded.next_id})
    store.abandon()

    for name, data in kept.items():
        assert (tmp_path / f"{name}.unreadable.1").read_bytes() == data
    assert found(tmp_path).state == {"next_id": 4, "jobs": {}}


def test_a_damaged_state_falls_back_to_an_older_versions(tmp_path: Path, lives: Lives) -> None:
    old = lives(tmp_path, version="0.9").start()
    old.busy()
    old.stop()
    kept = (tmp_path / ".a.cfg.state.0.9").read_bytes()
    new = lives(tmp_path).start()
    new.create()
    new.die()
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-1])
    (tmp_path / ".a.cfg.state.0.9").touch(0o600)
    (tmp_path / ".a.cfg.state.0.9").write_bytes(kept)

    again = lives(tmp_path).start()

    assert again.state["jobs"] == old.state["jobs"]
    assert again.state["next_id"] == new.state["next_id"] == 5
    assert len(list(tmp_path.glob(".*.unreadable.1"))) == 2
    assert not (tmp_path / ".a.cfg.state.0.9").exists()


def test_a_damaged_other_versions_state_is_kept_aside(tmp_path: Path, lives: Lives) -> None:
    old = lives(tmp_path, version="0.9").start()
    old.stop()
    path = tmp_path / ".a.cfg.state.0.9"
    path.write_bytes(path.read_bytes()[:-1])

    lives(tmp_path).start()

    assert not path.exists()
    assert (tmp_path / ".a.cfg.state.0.9.unreadable.1").exists()


def test_files_kept_aside_are_never_read(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.stop()
    (tmp_path / STATE).rename(tmp_path / f"{STATE}.unreadable.1")

    assert lives(tmp_path).start().loaded == Loaded(None, True, 1, [])


@pytest.mark.parametrize("content", [b"garbage", b"\0" * 100, b"spalloc-state", b"{}\n"])
def test_foreign_content_under_our_name_is_kept_aside(
    tmp_path: Path, lives: Lives, content: bytes
) -> None:
    (tmp_path / STATE).touch(0o600)
    (tmp_path / STATE).write_bytes(content)

    life = lives(tmp_path).start()

    assert life.loaded.state is None
    assert (tmp_path / f"{STATE}.unreadable.1").read_bytes() == content


def test_the_originals_state_is_recognised_and_never_read(
    tmp_path: Path, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "loads", fail)
    monkeypatch.setattr(pickle, "load", fail)
    theirs = pickle.dumps({"next_id": 99})
    for name in (STATE, ".a.cfg.state.7.0.0"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(theirs)

    life = lives(tmp_path).start()

    assert life.loaded.state is None
    assert life.loaded.next_id == 1
    assert all("original spalloc_server" in note for note in life.loaded.notes)
    assert len(life.loaded.notes) == 2
    assert (tmp_path / f"{STATE}.unreadable.1").read_bytes() == theirs
    # Not in our way, and wanted by whoever goes back.
    assert (tmp_path / ".a.cfg.state.7.0.0").read_bytes() == theirs


class NewerBook(FakeBook):
    FORMAT = 4


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
@pytest.mark.parametrize("clean", [True, False])
def test_a_newer_format_stops_the_start_and_stays_untouched(
    tmp_path: Path, version: str, clean: bool
) -> None:
    newer = Store(tmp_path, CONFIG, version, book=NewerBook())
    newer.load()
    newer.begin(BOOK.empty())
    if clean:
        newer.close(BOOK.empty())
    else:
        newer.abandon()
    before = files_in(tmp_path)

    for cold in (False, True):
        store = Store(tmp_path, CONFIG, "1.0.0", book=BOOK)
        with pytest.raises(StoreError, match="newer version"):
            store.load(cold=cold)
        store.abandon()

    assert files_in(tmp_path) == before


def test_a_newer_journal_alone_stops_the_start(tmp_path: Path) -> None:
    newer = Store(tmp_path, CONFIG, "1.0.0", book=NewerBook())
    newer.load()
    newer.begin(BOOK.empty())
    newer.abandon()
    (tmp_path / STATE).unlink()

    with pytest.raises(StoreError, match="journal was written by a newer"):
        found(tmp_path)


@pytest.mark.parametrize("name", [STATE, JOURNAL])
@pytest.mark.parametrize("fault", ["writable", "owner", "link"])
def test_a_file_that_is_not_ours_to_trust_stops_the_start(
    tmp_path: Path, lives: Lives, name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    life.die()
    path = tmp_path / name
    if fault == "writable":
        path.chmod(0o622)
    elif fault == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    before = files_in(tmp_path)

    for cold in (False, True):
        with pytest.raises(StoreError, match="left untouched"):
            lives(tmp_path).store.load(cold=cold)

    assert files_in(tmp_path) == before


@pytest.mark.parametrize("damage", [b"", b"garbage\n", b"spalloc-journal 1 {} 00000000\n"])
def test_a_damaged_journal_leaves_the_snapshot(
    tmp_path: Path, lives: Lives, damage: bytes
) -> None:
    life = lives(tmp_path).start()
    life.create()
    life.store.snapshot(life.state)
    snapshot = dict(life.state, jobs=dict(life.state["jobs"]))
    life.create()
    life.die()
    (tmp_path / JOURNAL).write_bytes(damage)

    again = lives(tmp_path).start()

    assert again.loaded.state == snapshot
    assert not again.loaded.clean
    assert (tmp_path / f"{JOURNAL}.unreadable.1").read_bytes() == damage


def test_a_journal_of_another_snapshot_does_not_count(tmp_path: Path, lives: Lives) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for directory, jobs in ((one, 2), (other, 5)):
        directory.mkdir()
        life = lives(directory).start()
        for _ in range(jobs):
            life.create()
        life.die()
    shutil.copy(other / JOURNAL, one / JOURNAL)

    again = lives(one).start()

    assert again.loaded.state == {"next_id": 6, "jobs": {}}


def test_a_directory_that_cannot_be_searched_stops_the_start(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path / "nowhere")

    with pytest.raises(StoreError, match="nowhere"):
        life.store.lock("x")
    with pytest.raises(StoreError, match="nowhere"):
        life.store.load()


def test_a_state_put_there_while_running_is_kept(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    life.busy()
    other = tmp_path / "other"
    other.mkdir()
    backup = lives(other).start()
    for _ in range(9):
        backup.store.snapshot(backup.state)
    backup.stop()
    shutil.copy2(other / STATE, tmp_path / STATE)

    life.store.snapshot(life.state)

    assert (tmp_path / f"{STATE}.unreadable.1").read_bytes() == (other / STATE).read_bytes()
    life.busy()
    life.die()
    assert found_state(tmp_path) == life.state


class OlderBook(FakeBook):
    FORMAT = 1


class NoUpgradeBook(FakeBook):
    def upgrade(self, book: State, from_format: int, /) -> State:
        return {"jobs": {}}


def test_an_older_format_is_brought_up_to_date(tmp_path: Path, lives: Lives) -> None:
    class Older(FakeBook):
        FORMAT = 2

    older = Store(tmp_path, CONFIG, "0.9", book=Older())
    older.load()
    older.begin({"next_id": 8})
    older.append(("created", 8, "x"))
    older.commit()
    older.abandon()

    assert lives(tmp_path).start().loaded.state == {"next_id": 9, "jobs": {8: "x"}}


def test_a_format_that_nobody_knows_any_more_is_kept_aside(tmp_path: Path, lives: Lives) -> None:
    ancient = Store(tmp_path, CONFIG, "0.1", book=OlderBook())
    ancient.load()
    ancient.begin({"next_id": 8, "jobs": {}})
    ancient.abandon()

    life = lives(tmp_path).start()

    assert life.loaded.state is None
    assert life.loaded.next_id == 8
    assert "brought up to date" in life.loaded.notes[0]
    assert (tmp_path / ".a.cfg.state.0.1.unreadable.1").exists()


def test_a_state_that_tells_no_ids_is_kept_aside(tmp_path: Path) -> None:
    store = Store(tmp_path, CONFIG, "1.0.0", book=BOOK)
    store.load()
    store.begin({"next_id": 8, "jobs": {}})
    store.abandon()

    broken = recover(Names(tmp_path, CONFIG), "1.0.0", NoUpgradeBook(), Disk())

    assert broken.state is None
    assert broken.next_id == 8
    assert "next job id" in broken.notes[0]


def test_sound_records_that_make_no_sense_do_not_count(
    tmp_path: Path, lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives(tmp_path).start()
    life.busy()
    saved = found_state(tmp_path)
    assert life.store._journals.newest is not None
    sound = journal_contents.read((tmp_path / JOURNAL).read_bytes()).payloads
    life.store._journals.newest.append([b"{}", b'[["created",70,"x"]]'])
    life.die()

    with caplog.at_level("WARNING"):
        again = lives(tmp_path).start()

    assert again.loaded.state == {**saved, "next_id": 71}
    number = len(sound) + 1
    assert f"record {number} of the journal does not fit the state" in caplog.messages
    note = f"record {number} does not fit the state: it and the 1 after it do not count"
    assert f"{tmp_path / JOURNAL}: {note}" in again.loaded.notes
    assert (tmp_path / f"{JOURNAL}.unreadable.1").exists()


# --- files of others ---


def test_files_of_others_are_told_once_and_together(tmp_path: Path, lives: Lives) -> None:
    for version in ("1!6.0.0", "1!7.0.0"):
        path = tmp_path / f".a.cfg.state.{version}"
        path.write_bytes(pickle.dumps({"next_id": 7}))
        path.chmod(0o600)

    first = lives(tmp_path).start()
    first.stop()
    second = lives(tmp_path).start()

    (note,) = first.loaded.notes
    assert "1!6.0.0" in note
    assert "1!7.0.0 are not used, they stay as they are: it looks like a state" in note
    assert second.loaded.notes == []
