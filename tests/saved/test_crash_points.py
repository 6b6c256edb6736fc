"""The disk that passes named points, where a test kills the server."""

import os
import signal
from pathlib import Path

import pytest

from spalloc_server._saved.crash_points import POINTS, CrashingDisk, kill_at
from spalloc_server._saved.disk import Disk

NEW = os.O_CREAT | os.O_RDWR


@pytest.fixture
def passed() -> list[str]:
    return []


@pytest.fixture
def disk(passed: list[str]) -> CrashingDisk:
    return CrashingDisk(passed.append)


def contents(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize("name", [".a.cfg.journal", ".a.cfg.journal.tmp"])
def test_a_record_is_written_in_two_parts(
    disk: CrashingDisk, passed: list[str], tmp_path: Path, name: str
) -> None:
    fd = disk.open(tmp_path / name, NEW)

    assert disk.write(fd, b"first line\n") == 11
    assert passed == []
    assert disk.write(fd, b"abcdefg") == 3
    assert passed == ["before-write", "mid-write"]
    assert disk.write(fd, b"defg") == 4
    assert passed == ["before-write", "mid-write", "before-reply"]
    assert disk.write(fd, b"hi") == 1
    disk.close(fd)

    assert contents(tmp_path / name) == b"first line\nabcdefgh"
    assert passed[3:] == ["before-write", "mid-write"]


@pytest.mark.parametrize("name", [".a.cfg.state.1-2.tmp", ".a.cfg.state.tmp.tmp"])
def test_a_snapshot_is_written_in_two_parts(
    disk: CrashingDisk, passed: list[str], tmp_path: Path, name: str
) -> None:
    fd = disk.open(tmp_path / name, NEW)

    assert disk.write(fd, b"abcdefg") == 3
    assert passed == ["mid-snapshot"]
    assert disk.write(fd, b"defg") == 4
    disk.close(fd)

    assert passed == ["mid-snapshot"]
    assert contents(tmp_path / name) == b"abcdefg"


def test_a_part_has_a_byte_at_least(disk: CrashingDisk, tmp_path: Path) -> None:
    fd = disk.open(tmp_path / ".a.cfg.journal", NEW)
    disk.write(fd, b"first line\n")

    assert disk.write(fd, b"a") == 1
    disk.close(fd)


@pytest.mark.parametrize("name", ["a.cfg.journal", ".a.cfg.state.1-2", ".a.cfg.lock", ".tmp"])
def test_other_files_pass_no_point(
    disk: CrashingDisk, passed: list[str], tmp_path: Path, name: str
) -> None:
    fd = disk.open(tmp_path / name, NEW)

    assert [disk.write(fd, b"abcd") for _ in range(3)] == [4, 4, 4]
    disk.close(fd)
    disk.rename(tmp_path / name, tmp_path / "other")
    disk.sync_directory(tmp_path)

    assert passed == []
    assert contents(tmp_path / "other") == b"abcdabcdabcd"


def test_a_journal_that_is_not_begun_here_passes_no_point(
    disk: CrashingDisk, passed: list[str], tmp_path: Path
) -> None:
    path = tmp_path / ".a.cfg.journal"
    path.touch()
    fd = disk.open(path, os.O_RDWR)

    assert [disk.write(fd, b"abcd") for _ in range(3)] == [4, 4, 4]
    disk.close(fd)

    assert passed == []


def test_a_descriptor_that_is_another_files_by_now_passes_no_point(
    disk: CrashingDisk, passed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = os.open(tmp_path / "file", NEW)
    monkeypatch.setattr(Disk, "open", lambda self, path, flags: number)
    for data in (b"first line\n", b"abcd"):
        disk.write(disk.open(tmp_path / ".a.cfg.journal", NEW), data)
    disk.write(number, b"abcd")
    passed.clear()

    fd = disk.open(tmp_path / "other", NEW)

    assert [disk.write(fd, b"abcd") for _ in range(3)] == [4, 4, 4]
    disk.close(fd)
    assert passed == []


def test_a_snapshot_passes_a_point_before_and_after_its_name_and_once_it_is_safe(
    disk: CrashingDisk, passed: list[str], tmp_path: Path
) -> None:
    old, new = tmp_path / ".a.cfg.state.1.tmp", tmp_path / ".a.cfg.state.1"
    old.touch()

    disk.rename(old, new)
    assert passed == ["before-rename", "after-rename"]
    assert new.exists()
    disk.sync_directory(tmp_path)
    disk.sync_directory(tmp_path)

    assert passed == ["before-rename", "after-rename", "during-rotation"]


def test_every_point_is_passed_in_a_life(
    disk: CrashingDisk, passed: list[str], tmp_path: Path
) -> None:
    for name in (".a.journal", ".a.state.1.tmp"):
        fd = disk.open(tmp_path / name, NEW)
        for data in (b"first line\n", b"ab", b"b"):
            disk.write(fd, data)
        disk.close(fd)
    disk.rename(tmp_path / ".a.state.1.tmp", tmp_path / ".a.state.1")
    disk.sync_directory(tmp_path)

    assert set(passed) == set(POINTS)


@pytest.mark.parametrize(("number", "time"), [("", 1), (":1", 1), (":3", 3)])
def test_the_process_is_killed_once_at_the_nth_passing(
    monkeypatch: pytest.MonkeyPatch, number: str, time: int
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))

    hook = kill_at(f"mid-write{number}")
    kills = []
    for _ in range(5):
        hook("mid-write")
        for other in (*POINTS, "none"):
            if other != "mid-write":
                hook(other)
        kills.append(len(killed))

    assert killed == [(os.getpid(), signal.SIGKILL)]
    assert kills == [0] * (time - 1) + [1] * (6 - time)


@pytest.mark.parametrize("text", ["nowhere", "", "mid-write:0", "mid-write:-1", "mid-write:x"])
def test_a_point_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.rpartition(":")[2] or "no crash point ''"):
        kill_at(text)
