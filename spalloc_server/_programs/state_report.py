"""The contents of a state file or a journal, and their faults.

Only reads, asks no server, and shows also files that a server would refuse to start
with.  A state file is shown with what the journal beside it adds; a journal
with its outcomes, and the state that they lead to if its snapshot is there.
Must not know how any of it looks on a screen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spalloc_server._jobs import book
from spalloc_server._saved import journal_contents, state_file
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.recovery import replay
from spalloc_server._saved.saved_file import (
    DamagedError,
    Header,
    StoreError,
    check_trust,
    first_line,
    read_header,
)

# ".my.cfg.state.1.0.0", ".my.cfg.journal", and either with ".unreadable.1" behind it.
_NAME = re.compile(r"(\..+\.)(?:state\..+|journal(?:\..+)?)")


def is_saved(path: Path) -> bool:
    """Whether a file has the name of a state file or journal, set aside or not."""
    return _NAME.fullmatch(path.name) is not None


_STATE_NAMES = {1: "queued", 2: "power", 3: "ready"}


@dataclass
class Report:
    """All that is to be said of one file.

    `problems` would stop a server, `notes` would not.
    `records` are a journal's, each the outcomes of one commit.  `beside` is the
    other file of the pair, where there is one.  `state` is the whole state in
    today's format, or None if none can be told.
    """

    file: Path
    header: Header | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: list[list[tuple[Any, ...]]] = field(default_factory=list)
    beside: Path | None = None
    state: dict[str, Any] | None = None


def examine(path: Path) -> Report:
    """Read a state file or journal, sound or not; never raises for its contents.

    Parameters
    ----------
    path : Path
        The file; one that was set aside is fine.
    """
    report = Report(path)
    try:
        data = Disk().read(path)
        check_trust(path, path.lstat())
    except StoreError as e:
        report.problems.append(str(e))
    except OSError as e:
        report.problems.append(f"cannot be read ({e.strerror})")
        return report
    try:
        kind = _kind(data)
        report.header = read_header(data, kind, book.FORMAT, path)
        if kind == "state":
            _examine_state(report, data)
        else:
            _examine_journal(report, data)
    except (DamagedError, StoreError) as e:
        report.problems.append(str(e))
    return report


def _kind(data: bytes) -> str:
    for kind in ("state", "journal"):
        if data.startswith(b"spalloc-%s " % kind.encode()):
            return kind
    if not data:
        raise DamagedError("is empty: a server starts without jobs")
    if state_file.looks_like_the_originals(data):
        raise DamagedError(
            "looks like a state of the original spalloc_server, a bare pickle. It is never read"
            " here, as reading it would run code; only the original can tell what it holds"
        )
    raise DamagedError("is neither a state file nor a journal of spalloc_server")


def _examine_state(report: Report, data: bytes) -> None:
    header = report.header
    assert header is not None
    base = _State(data, header)
    base.fresh()  # tell of damage before anything else
    payloads: list[bytes] = []
    for path in (*_beside(report.file, "journal"), *_beside(report.file, "journal.tmp")):
        found = _read_quietly(path, "journal")
        if found is not None and _are_a_pair(found[1], header):
            contents = journal_contents.read(found[0])
            payloads, report.beside = contents.payloads, path
            _tell_problem(report, contents, f"{path.name}: ")
    _replay(report, base, payloads)


def _examine_journal(report: Report, data: bytes) -> None:
    header = report.header
    assert header is not None
    contents = journal_contents.read(data)
    _tell_problem(report, contents, "")
    for payload in contents.payloads:
        try:
            report.records.append(journal_contents.decode(payload))
        except DamagedError as e:
            report.problems.append(f"record {len(report.records) + 1} {e}")
            break
    for path in _beside(report.file, "state.*"):
        found = _read_quietly(path, "state")
        if found is not None and _are_a_pair(found[1], header):
            report.beside = path
            _replay(report, _State(*found), contents.payloads)
            return
    report.notes.append(
        "the snapshot it belongs to is not beside it: without it, it counts nothing"
    )


class _State:
    """A snapshot that can be read afresh."""

    def __init__(self, data: bytes, header: Header) -> None:
        self._data = data
        self._header = header

    def fresh(self) -> dict[str, Any]:
        """Return a new copy of the state (DamagedError if there is none)."""
        state = state_file.decode(self._data, self._header)
        try:
            return book.upgrade(state, self._header.format)
        except ValueError as e:
            raise DamagedError(f"its state cannot be brought up to date ({e})") from e


def _replay(report: Report, base: _State, payloads: list[bytes]) -> None:
    report.state, used = replay(base.fresh, payloads, book)
    if used < len(payloads):
        report.problems.append(f"record {used + 1} of the journal does not fit the state")


def _tell_problem(report: Report, contents: journal_contents.Contents, where: str) -> None:
    if contents.problem is None:
        return
    if contents.torn:
        report.notes.append(
            f"{where}{contents.problem} (a crash leaves such, and a server that is writing)"
        )
    else:
        report.problems.append(where + contents.problem)
    if contents.stray:
        report.notes.append(f"{where}{len(contents.stray)} sound records follow, not counted")


def _beside(path: Path, pattern: str) -> Iterator[Path]:
    match = _NAME.fullmatch(path.name)
    if match is not None:
        for other in sorted(path.parent.iterdir()):
            if other.match(f"{_escape(match[1])}{pattern}") and other.is_file():
                yield other


def _escape(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _read_quietly(path: Path, kind: str) -> tuple[bytes, Header] | None:
    try:
        data = Disk().read(path)
        return data, read_header(first_line(data), kind, book.FORMAT, path)
    except (OSError, DamagedError, StoreError):
        return None  # is to be examined by itself


def _are_a_pair(one: Header, other: Header) -> bool:
    return (one.generation, one.pair) == (other.generation, other.pair)


# --- as plain data ---


def as_data(report: Report) -> dict[str, Any]:
    """Return a report as JSON can say it: dicts with text keys, and lists."""
    data: dict[str, Any] = {
        "file": str(report.file),
        "kind": None,
        "problems": report.problems,
        "notes": report.notes,
        "beside": None if report.beside is None else str(report.beside),
    }
    if report.header is not None:
        header = report.header
        data.update(
            kind=header.kind,
            generation=header.generation,
            id=header.pair,
            format=header.format,
            version=header.version,
        )
        if header.kind == "state":
            data["clean"] = header.clean and report.beside is None
        else:
            data["records"] = report.records
    if report.state is not None:
        try:
            data.update(_state_as_data(report.state))
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            data["problems"] = [*report.problems, f"its state makes no sense ({e!r})"]
    return data


def _state_as_data(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as lists of rows."""
    jobs = [
        {"id": job_id, **job, "state": _STATE_NAMES.get(job["state"], job["state"])}
        for job_id, job in state["jobs"].items()
    ]
    powering_off = [
        {"machine": machine, "id": allocation_id, **allocation}
        for machine, allocations in state["going"].items()
        for allocation_id, allocation in allocations.items()
    ]
    resting = [
        {"machine": machine, "id": allocation_id, "outcome": outcome, "rested": seconds}
        for machine, allocations in state["resting"].items()
        for allocation_id, (outcome, seconds) in allocations.items()
    ]
    return {
        "next_id": state["next_id"],
        "max_retired_jobs": state["max_retired_jobs"],
        "seconds_before_free": state["seconds_before_free"],
        "machines": list(state["machines"].values()),
        "jobs": jobs,
        "allocations": [
            {"job": job["id"], **job["allocation"]} for job in jobs if job["allocation"]
        ],
        "powering_off": powering_off,
        "resting": resting,
        "retired": [{"id": job_id, "reason": r} for job_id, r in state["retired"].items()],
        "orphans": state["orphans"],
        "quarantine": state["quarantine"],
    }
