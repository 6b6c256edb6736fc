"""What a directory holds of a configuration's state, and what can be made of it.

Only reads: the files stay as they are until a new generation has been written,
so that a crash during recovery costs nothing.

- The snapshot with the highest generation counts, whatever version wrote it;
  a damaged one falls back to the next.
- A journal counts only with the snapshot that it was begun for; a crash may have left
  the one of the newest snapshot under its temporary name.
- A file of a newer format, or one that others may have written, stops the start.
- Job ids go on above the highest that anything readable tells.

Must not know what a state means beyond its `next_id`, nor how files are written.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from spalloc_server._saved import journal_contents, state_file
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.saved_file import (
    DamagedError,
    Header,
    Names,
    StoreError,
    read_header,
    read_trusted,
)
from spalloc_server._saved.state_file import State

log = logging.getLogger(__name__)


class Book(Protocol):
    """What must be known of states; the module `_jobs.book` is one."""

    @property
    def FORMAT(self) -> int:  # noqa: N802 - a module's constant
        """The newest format it knows."""

    def empty(self) -> State:
        """Return the state of a server that has done nothing."""

    def apply(self, book: State, outcome: tuple[object, ...], /) -> None:
        """Write one outcome into a state, in place."""

    def upgrade(self, book: State, from_format: int, /) -> State:
        """Return a state of an older format in the newest."""


@dataclass
class Recovered:
    """What was found.

    `state` is None for a cold start; else it was made of the files `used`.
    `clean` tells whether the last server stopped in order.  `generation` is the
    highest seen, 0 for none; `pair` is that of the state file which bears this
    version's name.  `records` are the journal's outcomes that the state has in it, and
    `before` is the state without them (None if there are none).  `notes` are sentences
    for the log.  `traces` are files that tell of an earlier state whose ids may not all be
    known.  `unusable` files are to be kept aside once a new generation is written,
    `superseded` ones removed.
    """

    state: State | None = None
    clean: bool = True
    next_id: int = 1
    generation: int = 0
    pair: str | None = None
    notes: list[str] = field(default_factory=list)
    before: State | None = None
    records: list[list[tuple[Any, ...]]] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    traces: list[Path] = field(default_factory=list)
    used: list[Path] = field(default_factory=list)
    unusable: list[Path] = field(default_factory=list)
    superseded: list[Path] = field(default_factory=list)

    def heard_of(self, header: Header) -> None:
        """Note a readable header's generation and ids."""
        self.generation = max(self.generation, header.generation)
        self.next_id = max(self.next_id, header.next_id)

    def skip_unsaved(self, next_id: int) -> None:
        """Have ids go on at one that the last server left where its records should be."""
        if next_id <= self.next_id:
            return
        self.notes.append(
            f"ids of jobs go on at {next_id}, not {self.next_id}: when the last server ended, the"
            " disk took no records, so jobs with ids between may be lost"
        )
        self.next_id = next_id
        if self.state is not None:
            self.state["next_id"] = next_id

    def reject(self, path: Path, why: str) -> None:
        """Note a file of ours that cannot be used."""
        self.notes.append(f"{path} {why}; it will be kept aside")
        self.unusable.append(path)
        self.clean = False


@dataclass(frozen=True)
class Loaded:
    """Findings of a start.

    `state` is None if there is none to go on from; `clean` tells whether the
    last server stopped in order, so that the hardware is as the state says;
    `next_id` is above every job id that anything readable tells; `notes` are
    sentences for the log; `traces` are files, by their names, that tell of an earlier
    state whose ids may not all be known.  `records` are the outcomes that the journal had for the
    state, one list for each commit, and `before` is the state without them.
    """

    state: State | None
    clean: bool
    next_id: int
    notes: list[str]
    traces: list[str] = field(default_factory=list, compare=False)
    before: State | None = field(default=None, compare=False)
    records: list[list[tuple[Any, ...]]] = field(default_factory=list, compare=False)


class _Snapshot:
    """A state file whose header is sound."""

    def __init__(self, path: Path, data: bytes, header: Header) -> None:
        self.path = path
        self.data = data
        self.header = header

    def state(self, book: Book) -> State:
        """Return its state, in today's format (DamagedError if that cannot be)."""
        state = state_file.decode(self.data, self.header)
        try:
            state = book.upgrade(state, self.header.format)
        except ValueError as e:
            raise DamagedError(f"its state cannot be brought up to date ({e})") from e
        if not isinstance(state.get("next_id"), int):
            raise DamagedError("its state does not tell the next job id")
        return state


class _OldJournal:
    """A journal whose header is sound."""

    def __init__(self, path: Path, data: bytes, header: Header) -> None:
        self.path = path
        self.header = header
        self.contents = journal_contents.read(data)

    def belongs_to(self, snapshot: _Snapshot | None) -> bool:
        """Whether it goes on from where a snapshot ends."""
        return snapshot is not None and (self.header.generation, self.header.pair) == (
            snapshot.header.generation,
            snapshot.header.pair,
        )


def recover(
    names: Names, version: str, book: Book, disk: Disk, *, cold: bool = False
) -> Recovered:
    """Find the newest state that the files tell.

    Parameters
    ----------
    names : Names
        Where to look.
    version : str
        This program's, whose state file will be written next.
    book : Book
        How outcomes change states.
    disk : Disk
        What reads.
    cold : bool
        Read no state, only what must be known to write a new one.

    Raises
    ------
    StoreError
        If a file is of a newer format or not to be trusted, or the directory
        cannot be searched.
    """
    found = Recovered()
    own = names.state(version)
    try:
        snapshots = _snapshots(found, names, version, book, disk)
        journals = _old_journals(found, names, book, disk)
        found.superseded += names.abandoned()
        _note_foreign(found, disk, known=bool(snapshots))
    except OSError as e:
        raise StoreError(f"{names.directory} cannot be searched ({e.strerror})") from e
    found.superseded += [s.path for s in snapshots if s.path != own]
    if not snapshots or found.unusable:
        found.traces = _traces(names)
    if cold:
        for journal in journals:
            records = journal.contents.payloads + journal.contents.stray
            found.next_id = max(found.next_id, next_id_after(records, book))
        return found
    snapshots.sort(
        key=lambda s: (
            s.header.generation,
            any(journal.belongs_to(s) for journal in journals),
            s.path == own,
        ),
        reverse=True,
    )
    chosen = _choose(found, snapshots, book)
    for journal in _in_order(found, journals, chosen, names, book):
        _add_journal(found, journal, chosen, book)
    if found.state is not None:
        found.next_id = max(found.next_id, found.state["next_id"])
        found.state["next_id"] = found.next_id
    return found


# --- which files there are ---


def _traces(names: Names) -> list[Path]:
    """Return the files that tell of an earlier state, though not which ids it gave out."""
    return [path for path in names.all() if path != names.lock]


def _snapshots(
    found: Recovered, names: Names, version: str, book: Book, disk: Disk
) -> list[_Snapshot]:
    own = names.state(version)
    snapshots = []
    for path in {*names.states(), own}:
        if path != own and not _is_ours(found, path, disk):
            continue
        try:
            data = read_trusted(disk, path)
            if not data:
                continue  # removed, or emptied to begin without its jobs
            header = read_header(data, "state", book.FORMAT, path)
        except DamagedError as e:
            found.reject(path, f"{e}{_what_to_do(path, disk)}")
            continue
        found.heard_of(header)
        if path == own:
            found.pair = header.pair
        snapshots.append(_Snapshot(path, data, header))
    return snapshots


def _is_ours(found: Recovered, path: Path, disk: Disk) -> bool:
    """Whether a state file under another version's name was written by this project.

    The original, and whatever else uses such names, may be wanted again: its
    files are not in our way and stay as they are.
    """
    try:
        start = disk.read(path, 64)
    except OSError:
        return True  # who may not even be read is judged with the others
    if start.startswith(b"spalloc-state ") or not start:
        return True
    found.foreign.append(path)
    return False


def _note_foreign(found: Recovered, disk: Disk, known: bool) -> None:
    """Say once, at the first start, which state files of others are not used."""
    if not found.foreign or known:
        return
    paths = ", ".join(map(str, sorted(found.foreign)))
    which = "is not used, it stays as it is"
    if len(found.foreign) > 1:
        which = "are not used, they stay as they are"
    found.notes.append(f"{paths} {which}{_what_to_do(found.foreign[0], disk)}")


def _what_to_do(path: Path, disk: Disk) -> str:
    """Return words for who comes from the original server; empty for all others."""
    try:
        if not state_file.looks_like_the_originals(disk.read(path, 64)):
            return ""
    except OSError:
        return ""
    return (
        ": it looks like a state of the original spalloc_server, which is never read here, as"
        " reading it would run code. Its jobs are not known to this server. To keep them, start"
        " the original again and let them end before changing over; otherwise remove the file"
    )


def _old_journals(found: Recovered, names: Names, book: Book, disk: Disk) -> list[_OldJournal]:
    journals = []
    for path in (names.journal, names.new_journal):
        try:
            data = read_trusted(disk, path)
            if data is None:
                continue
            header = read_header(data, "journal", book.FORMAT, path)
        except DamagedError as e:
            if path == names.journal:
                found.reject(path, f"{e}: the outcomes since the last snapshot are lost")
            else:
                found.superseded.append(path)  # a crash came while it was begun
            continue
        found.heard_of(header)
        journals.append(_OldJournal(path, data, header))
    return journals


def _in_order(
    found: Recovered,
    journals: Sequence[_OldJournal],
    chosen: _Snapshot | None,
    names: Names,
    book: Book,
) -> list[_OldJournal]:
    """Return the journals to be looked at; a temporary one without its snapshot never counted."""
    kept = []
    for journal in journals:
        if journal.path == names.new_journal and not journal.belongs_to(chosen):
            found.superseded.append(journal.path)
            found.next_id = max(found.next_id, next_id_after(journal.contents.payloads, book))
        else:
            kept.append(journal)
    return kept


# --- what they tell ---


def _choose(found: Recovered, snapshots: Sequence[_Snapshot], book: Book) -> _Snapshot | None:
    """Take the state of the first usable snapshot."""
    for snapshot in snapshots:
        try:
            found.state = snapshot.state(book)
        except DamagedError as e:
            found.reject(snapshot.path, str(e))
            if snapshot.path in found.superseded:
                found.superseded.remove(snapshot.path)
            continue
        found.clean = found.clean and snapshot.header.clean
        found.used.append(snapshot.path)
        return snapshot
    return None


def _add_journal(
    found: Recovered, journal: _OldJournal, chosen: _Snapshot | None, book: Book
) -> None:
    """Write what a journal tells into the state that was chosen, if it belongs to it."""
    contents = journal.contents
    if chosen is None or not journal.belongs_to(chosen):
        # An older one was left by a crash between the snapshot's rename and the journal's.
        if chosen is None or journal.header.generation >= chosen.header.generation:
            found.reject(journal.path, "belongs to no snapshot that is there and does not count")
            stray = contents.payloads + contents.stray
            found.next_id = max(found.next_id, next_id_after(stray, book))
        return
    found.clean = False
    found.used.append(journal.path)
    found.state, used = replay(lambda: chosen.state(book), contents.payloads, book)
    unused = contents.payloads[used:]
    if used:
        found.before = chosen.state(book)
        found.records = [journal_contents.decode(payload) for payload in contents.payloads[:used]]
    if contents.problem is not None:
        found.notes.append(f"{journal.path}: {contents.problem}")
    if unused:
        found.notes.append(
            f"{journal.path}: record {used + 1} does not fit the state: it and the"
            f" {len(unused) - 1} after it do not count"
        )
    if unused or (contents.problem is not None and not contents.torn):
        found.unusable.append(journal.path)
    found.next_id = max(found.next_id, next_id_after(unused + contents.stray, book))


def replay(base: Callable[[], State], payloads: Sequence[bytes], book: Book) -> tuple[State, int]:
    """Write records into a state, up to the first that does not fit.

    Parameters
    ----------
    base : callable
        Returns a fresh copy of the state before the first record.
    payloads : sequence of bytes
        See `_saved.journal_contents.Contents`.
    book : Book
        How outcomes change states.

    Returns
    -------
    (state, used)
        And how many of the records it has in it.
    """
    state = base()
    for used, payload in enumerate(payloads):
        try:
            for outcome in journal_contents.decode(payload):
                book.apply(state, outcome)
        except Exception:
            log.exception("record %d of the journal does not fit the state", used + 1)
            # The state may have part of the record in it by now.
            return replay(base, payloads[:used], book)
    return state, len(payloads)


def next_id_after(payloads: Sequence[bytes], book: Book) -> int:
    """Return an id above all that records give out, although they fit no state."""
    return next_id_of(_outcomes(payloads), book)


def _outcomes(payloads: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
    for payload in payloads:
        with contextlib.suppress(DamagedError):
            yield from journal_contents.decode(payload)


def next_id_of(outcomes: Iterable[tuple[Any, ...]], book: Book) -> int:
    """Return an id above all that outcomes give out; 1 if they give none."""
    scratch = book.empty()
    for outcome in outcomes:
        with contextlib.suppress(ValueError):  # speaks of jobs that are not known here
            book.apply(scratch, outcome)
    next_id = scratch["next_id"]
    assert isinstance(next_id, int)
    return next_id
