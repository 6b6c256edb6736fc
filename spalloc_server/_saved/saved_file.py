r"""What state files and journals have in common: names, first line, trust.

The first line of either is text::

    spalloc-state 1 {"format":1,"generation":8,"id":"...",...} 1a2b3c4d
    \___________/ |  \_______________________________________/ \______/
      what it is   |        what the reader must know         CRC-32 of all before it
                 layout of the file

so that any program, older ones too, can tell a newer layout from damage.  Must
not know what a state or an outcome is.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

from spalloc_server._saved.disk import Disk

#: Layout of both kinds of files: what follows the first line, and how.
LAYOUT = 1

#: More than any first line has.
LONGEST_LINE = 4096  # bytes; arbitrary, today's have about 250
_LINE = re.compile(rb"spalloc-(state|journal) (\d{1,9}) (\{.*\}) ([0-9a-f]{8})\n")

# PEP 440, so that ".unreadable.1", ".tmp" and other configurations' files do not match.
_VERSION = (
    r"(?:\d+!)?\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?"
    r"(?:\.post\d+)?(?:\.dev\d+)?(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?"
)


#: Errors that say nothing about a file, but that this computer lacks something.
_LACKS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class StoreError(Exception):
    """The start must stop: another holds the state, or it is not ours to touch."""


class DamagedError(Exception):
    """A file does not hold what it should; says what is wrong."""


class ChangedError(OSError):
    """Somebody else removed or changed a file of ours."""


@dataclass(frozen=True)
class Header:
    """What the first line tells.

    `generation` rises with each snapshot of a configuration, whatever version
    of the project writes it.  `pair` is random: a journal belongs to the
    snapshot with the same generation and pair, and to no other.  `next_id` is
    above every job id known when the file was begun (or to be
    given out, if nothing will tell of those).
    """

    kind: str
    format: int
    generation: int
    pair: str
    next_id: int
    version: str
    clean: bool = False
    body_size: int = 0
    body_sha256: str = ""

    def line(self) -> bytes:
        """Return the first line of the file, with its newline."""
        fields: dict[str, object] = {
            "format": self.format,
            "generation": self.generation,
            "id": self.pair,
            "next_id": self.next_id,
            "version": self.version,
        }
        if self.kind == "state":
            fields.update(clean=self.clean, size=self.body_size, sha256=self.body_sha256)
        text = json.dumps(fields, separators=(",", ":"))
        line = f"spalloc-{self.kind} {LAYOUT} {text} ".encode("ascii")
        return b"%s%08x\n" % (line, zlib.crc32(line))


def first_line(data: bytes) -> bytes:
    """Return a file's first line with its newline; empty if there is none in sight."""
    return data[: data.find(b"\n", 0, LONGEST_LINE) + 1]


def read_header(data: bytes, kind: str, newest_format: int, path: Path) -> Header:
    """Read the first line of a file.

    Parameters
    ----------
    data : bytes
        The file, or at least its first line.
    kind : str
        ``state`` or ``journal``: what it should be.
    newest_format : int
        The highest format of the book that this program reads.
    path : Path
        Only for the texts of errors.

    Raises
    ------
    DamagedError
        If the line is not one that any version of this project wrote.
    StoreError
        If it is sound, but of a newer layout or format than this program's.
    """
    line = first_line(data)
    match = _LINE.fullmatch(line)
    if match is None or match[1].decode() != kind:
        raise DamagedError(f"does not begin like a {kind} file of spalloc_server")
    if line[:-9] + b"%08x\n" % zlib.crc32(line[:-9]) != line:
        raise DamagedError("the checksum of its first line is wrong")
    if int(match[2]) > LAYOUT:
        raise _newer(path, kind, f"layout {int(match[2])}, this program knows up to {LAYOUT}")
    try:
        header = _header(kind, json.loads(match[3]))
    except (KeyError, ValueError) as e:
        raise DamagedError(f"its first line makes no sense ({type(e).__name__}: {e})") from e
    if header.format > newest_format:
        what = f"format {header.format}, this program knows up to {newest_format}"
        raise _newer(path, kind, what)
    return header


def _header(kind: str, fields: dict[str, object]) -> Header:
    """Make a header of a first line's fields; KeyError or ValueError if that cannot be."""

    def number(name: str) -> int:
        value = fields[name]
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} is {value!r}")
        return value

    header = Header(
        kind,
        number("format"),
        number("generation"),
        str(fields["id"]),
        number("next_id"),
        str(fields["version"]),
    )
    if kind == "journal":
        return header
    return Header(
        **{
            **header.__dict__,
            "clean": fields["clean"] is True,
            "body_size": number("size"),
            "body_sha256": str(fields["sha256"]),
        }
    )


def _newer(path: Path, kind: str, what: str) -> StoreError:
    return StoreError(
        f"{path}: this {kind} was written by a newer version of spalloc_server ({what})"
        f" and is left untouched. Start the newer version, or move the file away to begin"
        f" without its jobs."
    )


def read_trusted(disk: Disk, path: Path) -> bytes | None:
    """Read a file that nobody but this process's user can have written.

    Returns
    -------
    bytes or None
        None if there is no such file.

    Raises
    ------
    StoreError
        If it is no plain file, belongs to another user, or others may write it; or if
        this computer lacks descriptors or memory to read it: that is no damage.
    DamagedError
        If it cannot be read.
    """
    try:
        status = path.lstat()
        check_trust(path, status)
        return _read_patiently(disk, path)
    except FileNotFoundError:
        return None
    except OSError as e:
        if e.errno in _LACKS:
            raise StoreError(f"{path} cannot be read now ({e.strerror}); try again") from e
        raise DamagedError(f"cannot be read ({e.strerror})") from e


def _read_patiently(disk: Disk, path: Path) -> bytes:
    """Read a file, and if the disk fails once more: all jobs are in it."""
    try:
        return disk.read(path)
    except OSError as e:
        if e.errno != errno.EIO:
            raise
        return disk.read(path)


def check_trust(path: Path, status: os.stat_result) -> None:
    """Raise StoreError unless only this process's user can have written a file."""
    if not stat.S_ISREG(status.st_mode):
        why = "is no plain file"
    elif status.st_uid != os.geteuid():
        why = f"belongs to user {status.st_uid}, this program runs as user {os.geteuid()}"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why = f"may be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
    else:
        return
    raise StoreError(
        f"{path} {why}: it is not trusted and left untouched. Run this as the server's user; put"
        f" the file's owner and mode (0600) right if it is what the server wrote, or move it away"
        f" to begin without its jobs."
    )


class Names:
    """The names of one configuration's files, all in one directory.

    Parameters
    ----------
    directory : Path
        Where they are.
    config_name : str
        The configuration's file name, without directory.
    label : str
        Sets apart files that are never to be mixed with the real server's
        (``simulated``); empty for the real one's.
    """

    def __init__(self, directory: Path, config_name: str, label: str = "") -> None:
        self.directory = directory
        self._stem = f".{config_name}.{label}." if label else f".{config_name}."
        self.journal = directory / f"{self._stem}journal"
        self.new_journal = directory / f"{self._stem}journal.tmp"
        self.lock = directory / f"{self._stem}lock"
        self.pseudonym_key = directory / f"{self._stem}names"

    def state(self, version: str) -> Path:
        """Name of the state file that a version of this project writes."""
        return self.directory / f"{self._stem}state.{version}"

    def new_state(self, version: str) -> Path:
        """Name under which a version writes a state file before it counts."""
        return self.directory / f"{self._stem}state.{version}.tmp"

    def event_segment(self, first: int) -> Path:
        """Name of the segment of the events file that begins with an event's number."""
        return self.directory / f"{self._stem}events.{first:016d}"

    def event_segments(self) -> list[Path]:
        """Segments of the events file that are there, oldest first."""
        return self._there(r"events\.\d{16}", "")

    def states(self) -> list[Path]:
        """State files of all versions that are there, sorted by name."""
        return self._there(_VERSION)

    def abandoned(self) -> list[Path]:
        """State files, of all versions, that a crash left half-written."""
        return self._there(_VERSION + r"\.tmp")

    def all(self) -> list[Path]:
        """All files of states, journals and events that are there, set aside or not."""
        return self._there(r"(state|journal|events)(\..*)?", "")

    def _there(self, suffix: str, kind: str = "state.") -> list[Path]:
        pattern = re.compile(re.escape(f"{self._stem}{kind}") + suffix)
        return sorted(path for path in self.directory.iterdir() if pattern.fullmatch(path.name))
