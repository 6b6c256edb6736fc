"""A file that is put aside at midnight, or goes on if it cannot be."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._logs.daily_file import DailyFile
from tests.support.hand_clock import HandClock

DAY = 24 * 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """At noon, UTC."""
    monkeypatch.setenv("TZ", "UTC")
    clock = HandClock(monkeypatch)
    clock.today = 1_700_000_000.0 // DAY * DAY + DAY / 2
    return clock


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_lines_are_appended(tmp_path: Path, clock: HandClock) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    os.utime(path, (clock.today, clock.today))

    file = DailyFile(path, 3)
    assert file.write(b"now\n") is None
    file.close()

    assert path.read_text() == "before\nnow\n"
    assert names(tmp_path) == ["log"]


def test_a_past_day_has_a_file_of_its_own_and_so_many_are_kept(
    tmp_path: Path, clock: HandClock
) -> None:
    (tmp_path / "log.old").write_text("somebody else's\n")
    file = DailyFile(tmp_path / "log", 2)
    for number in range(4):
        file.write(f"day {number}\n".encode())
        clock.advance(DAY)
    file.close()

    assert names(tmp_path) == ["log", "log.2023-11-15", "log.2023-11-16", "log.old"]
    assert (tmp_path / "log").read_text() == "day 3\n"
    assert (tmp_path / "log.2023-11-16").read_text() == "day 2\n"


def test_a_file_of_yesterday_is_put_aside_at_the_first_line(
    tmp_path: Path, clock: HandClock
) -> None:
    path = tmp_path / "log"
    path.write_text("yesterday\n")
    os.utime(path, (clock.today - DAY, clock.today - DAY))

    file = DailyFile(path, 3)
    file.write(b"today\n")
    file.close()

    assert names(tmp_path) == ["log", "log.2023-11-13"]


def refuse_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    real, refusals = getattr(owner, name), [PermissionError(errno.EACCES, "Permission denied")]

    def refuse(*args: Any, **kwargs: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, refuse)


@pytest.mark.parametrize("step", [(Path, "rename"), (os, "open"), (Path, "unlink")])
def test_a_file_that_cannot_be_put_aside_loses_no_line(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    (tmp_path / "log.2001-01-01").write_text("long ago\n")
    file = DailyFile(tmp_path / "log", 1)
    file.write(b"first\n")
    clock.advance(DAY)
    refuse_once(monkeypatch, *step)

    trouble = file.write(b"second\n")
    clock.advance(59.0)
    still = file.write(b"third\n")
    clock.advance(1.0)
    clock.today += DAY
    over = file.write(b"fourth\n")
    file.close()

    assert trouble == "it cannot be put aside for the day: Permission denied"
    assert (still, over) == (trouble, None)
    written = "".join(path.read_text() for path in sorted(tmp_path.iterdir(), reverse=True))
    assert {"first", "second", "third", "fourth"} - set(written.split()) <= {"first"}


def test_lines_lost_to_a_full_disk_tear_no_later_line(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DailyFile(tmp_path / "log", 3)
    file.write(b"whole\n")
    real, room = os.write, [4, 0]

    def write(descriptor: int, data: bytes) -> int:
        if not room:
            return real(descriptor, data)
        space = room.pop(0)
        if not space:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:space])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        file.write(b"torn apart\n")
    file.write(b"whole again\n")
    file.close()

    assert (tmp_path / "log").read_text() == "whole\ntorn\nwhole again\n"


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        DailyFile(tmp_path, 3)


def test_nothing_is_torn_by_a_write_that_took_nothing(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DailyFile(tmp_path / "log", 3)
    with monkeypatch.context() as patch:
        refuse_once(patch, os, "write")
        with pytest.raises(PermissionError):
            file.write(b"lost\n")

    file.write(b"whole\n")
    file.close()
    file.close()

    assert (tmp_path / "log").read_text() == "whole\n"


def test_a_file_that_was_moved_or_removed_is_begun_anew(tmp_path: Path, clock: HandClock) -> None:
    path = tmp_path / "log"
    file = DailyFile(path, 3)
    file.write(b"one\n")

    path.rename(tmp_path / "log.1")  # as logrotate does
    assert file.write(b"two\n") is None
    path.unlink()
    assert file.write(b"three\n") is None
    path.unlink()
    path.write_text("somebody's\n")
    assert file.write(b"four\n") is None
    file.close()

    assert (tmp_path / "log.1").read_text() == "one\n"
    assert path.read_text() == "somebody's\nfour\n"


def test_a_file_whose_folder_is_gone_is_trouble_until_it_is_back(
    tmp_path: Path, clock: HandClock
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = DailyFile(folder / "log", 3)
    (folder / "log").unlink()
    folder.rmdir()

    for _ in range(2):
        assert file.write(b"nowhere\n") == (
            "it was moved or removed, and no new one can be made: No such file or directory"
        )
    folder.mkdir()
    assert file.write(b"here\n") is None
    file.close()

    assert (folder / "log").read_text() == "here\n"
