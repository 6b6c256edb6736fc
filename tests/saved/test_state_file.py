"""One whole state in a file: what is refused, what is told, what is never run."""

from __future__ import annotations

import dataclasses
import enum
import errno
import hashlib
import os
import pickle
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from spalloc_server._saved import state_file
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.saved_file import (
    DamagedError,
    Header,
    Names,
    StoreError,
    first_line,
    read_header,
    read_trusted,
)
from tests.support.store_disks import FailingDisk

HEADER = Header("state", 3, 7, "0123456789abcdef", 42, "1.0.0", True)
STATE = {
    "next_id": 42,
    "jobs": {7: {"owner": "me", "args": (1, 2.5, None), "boards": {(0, 0, 1)}}},
    "tags": frozenset({"default"}),
    "odd": [float("inf"), -(10**30), True, b"\x00", "\udc80"],
}
PATH = Path("x")


def read(data: bytes) -> state_file.State:
    return state_file.decode(data, read_header(data, "state", 3, PATH))


class Evil:
    """Leaves a trace when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trace),))

    def __init__(self, trace: Path) -> None:
        self.trace = trace


def behind_a_header(body: bytes, layout: int = 1) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    header = dataclasses.replace(HEADER, body_size=len(body), body_sha256=digest)
    return header.line() + body


# --- writing and reading ---


def test_a_state_comes_back_as_it_was() -> None:
    data = state_file.encode(STATE, HEADER)

    assert read(data) == STATE


def test_the_header_tells_all_that_was_put_into_it() -> None:
    data = state_file.encode(STATE, HEADER)

    header = read_header(data, "state", 3, PATH)

    assert dataclasses.replace(header, body_size=0, body_sha256="") == HEADER


def test_a_journals_header_comes_back() -> None:
    header = dataclasses.replace(HEADER, kind="journal", clean=False)

    assert read_header(header.line(), "journal", 3, PATH) == header


class Colour(enum.IntEnum):
    RED = 1


class Pair(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    "value", [Colour.RED, Pair(1, 2), OrderedDict(), print, int, object(), complex(1, 2)]
)
def test_what_could_not_be_read_again_is_refused_when_written(value: object) -> None:
    with pytest.raises(TypeError, match="does not belong into a state"):
        state_file.encode({"next_id": 1, "inside": [{"deep": value}]}, HEADER)


# --- damage ---


def test_every_damaged_byte_and_every_cut_is_found() -> None:
    data = state_file.encode({"next_id": 42, "jobs": {}}, HEADER)
    broken = [data[:i] for i in range(len(data))]
    broken += [data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :] for i in range(len(data))]
    broken += [data[:i] + bytes([data[i] ^ 0x20]) + data[i + 1 :] for i in range(len(data))]
    broken += [data + b"x", data + data, b"\0" * len(data)]

    for other in broken:
        with pytest.raises(DamagedError):
            read(other)


@pytest.mark.parametrize(
    "fields",
    [
        '{"format":1}',
        '{"format":"1","generation":1,"id":"","next_id":1,"version":"","clean":true,"size":0,"sha256":""}',
        '{"format":1,"generation":-1,"id":"","next_id":1,"version":"","clean":true,"size":0,"sha256":""}',
        "{nonsense}",
    ],
)
def test_a_sound_first_line_that_makes_no_sense_is_damage(fields: str) -> None:
    import zlib

    line = b"spalloc-state 1 " + fields.encode() + b" "
    line += b"%08x\n" % zlib.crc32(line)

    with pytest.raises(DamagedError, match="makes no sense"):
        read_header(line, "state", 3, PATH)


def test_a_state_that_is_no_dict_is_damage() -> None:
    with pytest.raises(DamagedError, match="is a list"):
        read(behind_a_header(pickle.dumps([1])))


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b"\x80\x04", b"\x80\x04N", b"\x80\x04r\xff\xff\xff\x7f.", b"(lp0\n."]
)
def test_a_body_that_is_no_pickle_is_damage_even_if_its_checksum_is_right(body: bytes) -> None:
    with pytest.raises(DamagedError):
        read(behind_a_header(body))


# --- hostile pickles ---


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_never_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    body = pickle.dumps({"next_id": 1, "x": Evil(trace)}, protocol)

    with pytest.raises(DamagedError, match="names"):
        read(behind_a_header(body))

    assert not trace.exists()
    pickle.loads(body)
    assert trace.is_dir()  # it would have


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(ios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02cbuiltins\nobject\n)\x81.",
        b"\x80\x02\x82\x01.",
        b"Pwhatever\n.",
        b"\x80\x05\x97.",
    ],
)
def test_no_opcode_reaches_a_name(body: bytes) -> None:
    with pytest.raises(DamagedError):
        read(behind_a_header(body))


def test_bare_pickles_are_known_for_the_originals() -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert state_file.looks_like_the_originals(pickle.dumps(STATE, protocol))
    assert not state_file.looks_like_the_originals(b"")
    assert state_file.looks_like_the_originals(b"\x80\x02")
    assert not state_file.looks_like_the_originals(b"\x80")
    assert not state_file.looks_like_the_originals(b"\x80\x7f")
    assert not state_file.looks_like_the_originals(b"\x7f\x02")
    assert not state_file.looks_like_the_originals(b"\x81\x02")
    assert not state_file.looks_like_the_originals(state_file.encode(STATE, HEADER))


# --- newer ones ---


def test_a_newer_format_is_told_apart_from_damage() -> None:
    data = state_file.encode(STATE, HEADER)

    with pytest.raises(StoreError, match="newer version") as told:
        read_header(data, "state", 2, Path("/there/file"))

    assert "/there/file" in str(told.value)
    assert "format 3" in str(told.value)


def test_a_newer_layout_is_told_apart_from_damage() -> None:
    import zlib

    line = b'spalloc-state 2 {"who":"knows"} '
    line += b"%08x\n" % zlib.crc32(line)

    with pytest.raises(StoreError, match="layout 2"):
        read_header(line, "state", 3, PATH)


# --- whose it is ---


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch(mode=0o600)
    path.write_bytes(b"content")
    return path


def test_our_own_file_is_read(file: Path) -> None:
    assert read_trusted(Disk(), file) == b"content"


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_trusted(Disk(), tmp_path / "file") is None


def test_the_file_of_another_user_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    file.chmod(0o600)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)

    with pytest.raises(StoreError) as refused:
        read_trusted(Disk(), file)

    told = str(refused.value)
    assert f"belongs to user {mine}, this program runs as user {mine + 1}" in told
    assert "Run this as the server's user" in told


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)

    with pytest.raises(StoreError, match="written by others"):
        read_trusted(Disk(), file)


def test_a_file_that_others_may_read_is_fine(file: Path) -> None:
    file.chmod(0o644)

    assert read_trusted(Disk(), file) == b"content"


def test_another_users_file_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)

    with pytest.raises(StoreError, match="12345"):
        read_trusted(Disk(), file)


def test_links_pipes_and_directories_are_refused(file: Path) -> None:
    link, pipe, directory = (file.with_name(name) for name in ("link", "pipe", "directory"))
    link.symlink_to(file)
    os.mkfifo(pipe, 0o600)
    directory.mkdir()

    for path in (link, pipe, directory):
        with pytest.raises(StoreError, match="no plain file"):
            read_trusted(Disk(), path)


def test_a_file_that_the_disk_does_not_give_is_damaged(file: Path) -> None:
    disk = FailingDisk()
    disk.fail("read")

    with pytest.raises(DamagedError, match="cannot be read"):
        read_trusted(disk, file)


# --- writing to disk ---


def test_a_file_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"left by a crash, and longer than the new one")

    state_file.write(Disk(), path, b"content")

    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("call", ["open", "write", "fsync"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_file_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, call: str, error: int
) -> None:
    disk = FailingDisk()
    disk.fail(call, error=error)

    with pytest.raises(OSError, match=os.strerror(error)):
        state_file.write(disk, tmp_path / "file", b"content")

    assert list(tmp_path.iterdir()) == []


def test_half_a_file_is_never_left_behind(tmp_path: Path) -> None:
    disk = FailingDisk()
    disk.room = 5

    with pytest.raises(OSError, match="No space"):
        state_file.write(disk, tmp_path / "file", b"content")

    assert list(tmp_path.iterdir()) == []


# --- aside ---


@pytest.mark.parametrize("replaced", [True, False])
def test_files_are_kept_aside_under_numbers(file: Path, replaced: bool) -> None:
    first = file.with_name("file.unreadable.1")
    first.write_bytes(b"older")

    aside = state_file.keep_aside(Disk(), file, replaced=replaced)

    assert aside == file.with_name("file.unreadable.2")
    assert aside.read_bytes() == b"content"
    assert first.read_bytes() == b"older"
    assert file.exists() == replaced


def test_without_second_names_a_file_is_renamed_aside(file: Path) -> None:
    disk = FailingDisk()
    disk.fail("link", error=errno.EPERM)

    aside = state_file.keep_aside(disk, file, replaced=True)

    assert aside.read_bytes() == b"content"
    assert not file.exists()


# --- names ---


def test_states_of_all_versions_are_found_and_nothing_else(tmp_path: Path) -> None:
    names = Names(tmp_path, "a.cfg")
    mine = [".a.cfg.state.0.9", ".a.cfg.state.1!7.0.0", ".a.cfg.state.1.0.0rc1.post2+x.1"]
    others = [
        ".a.cfg.state.1.0.0.unreadable.1",
        ".a.cfg.state.1.0.0.tmp",
        ".a.cfg.simulated.state.1.0.0",
        ".a.cfg.state.state.1.0.0",
        ".aXcfg.state.1.0.0",
        ".b.cfg.state.1.0.0",
        ".a.cfg.journal",
        "x.a.cfg.state.1.0.0",
    ]
    for name in mine + others:
        (tmp_path / name).touch()

    assert [path.name for path in names.states()] == sorted(mine)
    assert [path.name for path in names.abandoned()] == [".a.cfg.state.1.0.0.tmp"]


def test_a_label_changes_every_name(tmp_path: Path) -> None:
    names = Names(tmp_path, "a.cfg", "simulated")

    assert names.state("1.0.0").name == ".a.cfg.simulated.state.1.0.0"
    assert names.journal.name == ".a.cfg.simulated.journal"
    assert names.lock.name == ".a.cfg.simulated.lock"


def test_the_first_line_is_looked_for_only_where_it_can_be() -> None:
    assert first_line(b"abc\ndef\n") == b"abc\n"
    assert first_line(b"x" * 5000 + b"\n") == b""
    assert first_line(b"") == b""
