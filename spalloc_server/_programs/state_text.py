"""A report on a state file or journal, for people to read.

Takes the data of `_programs.state_report.as_data`; must not know files or classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

Data = dict[str, Any]

_MOST_BOARDS = 4  # named one by one in a table; of more only the first and how many


def lines(data: Data) -> Iterator[str]:
    """Return the lines of a report."""
    yield data["file"]
    yield from _about(data)
    for problem in data["problems"]:
        yield f"  PROBLEM: {_plain(problem)}"
    for note in data["notes"]:
        yield f"  note: {_plain(note)}"
    if data["kind"] == "journal":
        yield from _records(data["records"])
    if "jobs" in data:
        if data["kind"] == "journal":
            yield ""
            yield f"With its snapshot {data['beside']}:"
        yield from _state(data)


def _about(data: Data) -> Iterator[str]:
    if data["kind"] is None:
        return
    yield (
        f"  {data['kind']}, generation {data['generation']}, written by version"
        f" {_plain(data['version'])}, format {data['format']}"
    )
    if data["kind"] == "journal":
        return
    if data["beside"] is not None:
        yield f"  with what happened since, from {data['beside']}"
    if data["clean"]:
        yield "  saved at a clean stop"
    else:
        yield "  not saved at a clean stop: a server runs on it, or was killed"


def _records(records: Sequence[Sequence[Sequence[Any]]]) -> Iterator[str]:
    kinds = Counter(str(outcome[0]) for outcomes in records for outcome in outcomes)
    yield ""
    counts = ", ".join(f"{count} {_plain(kind)}" for kind, count in sorted(kinds.items()))
    yield f"Records: {len(records)}" + (f" ({counts})" if counts else "")
    for number, outcomes in enumerate(records, 1):
        for outcome in outcomes:
            kind, *rest = outcome
            yield f"  {number:>6}  {_plain(kind):<12} {_json(rest)}"


def _state(data: Data) -> Iterator[str]:
    yield f"  next job id {data['next_id']}"
    yield from _table(
        "Machines",
        ("name", "triads", "boards", "dead", "tags"),
        (
            (
                machine["name"],
                f"{machine['width']}x{machine['height']}",
                len(machine["board_locations"]),
                len(machine["dead_boards"]),
                ", ".join(machine["tags"]),
            )
            for machine in data["machines"]
        ),
    )
    yield from _table(
        "Jobs",
        ("id", "state", "power", "owner", "host", "created", "keepalive", "asked for", "given"),
        (_job(job) for job in data["jobs"]),
    )
    yield from _table(
        "Waiting to be freed",
        ("machine", "allocation", "job", "given", "waits for"),
        [
            (a["machine"], a["id"], a["job"], _boards(a["boards"]), "power-off")
            for a in data["powering_off"]
        ]
        + [
            (a["machine"], a["id"], "-", _json(a["outcome"]), f"rest ({a['rested']:.0f} s so far)")
            for a in data["resting"]
        ],
    )
    yield from _table(
        "To be powered off on frames no longer configured",
        ("BMP", "boards"),
        ((host, _json(boards)) for host, boards in data["orphans"].items()),
    )
    yield from _table(
        "Out of service",
        ("machine", "board", "what", "since"),
        (row for name, cases in data["quarantine"].items() for row in _cases(name, cases)),
    )
    yield from _table(
        "Ended jobs",
        ("id", "reason"),
        ((job["id"], job["reason"] or "-") for job in data["retired"]),
    )


def _job(job: Data) -> tuple[object, ...]:
    given = job["allocation"]
    asked = [*job["args"], *(f"{name}={_json(value)}" for name, value in job["kwargs"].items())]
    return (
        job["id"],
        job["state"],
        {True: "on", False: "off"}.get(job["power"], "-"),
        job["owner"],
        job["host"] or "-",
        _time(job["start_time"]),
        "-" if job["keepalive"] is None else f"{job['keepalive']:g} s",
        " ".join(map(str, asked)) or "-",
        "-" if given is None else f"{given['machine']} {_boards(given['boards'])}",
    )


def _cases(name: str, quarantine: Data) -> Iterator[tuple[object, ...]]:
    for case in quarantine["cases"]:
        yield (name, _json(case["board"]), f"{case['kind']}: {case['what']}", _time(case["since"]))
    for frame, since in quarantine["silent"]:
        yield (name, f"frame {_json(frame)}", "does not answer", _time(since))


def _boards(boards: Sequence[Sequence[int]]) -> str:
    shown = " ".join(_json(board) for board in boards[:_MOST_BOARDS])
    more = len(boards) - _MOST_BOARDS
    return f"{shown} and {more} more" if more > 0 else shown


def _table(title: str, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Return a titled table; nothing if it has no rows."""
    texts = [[_plain(cell) for cell in row] for row in rows]
    if not texts:
        return
    texts.insert(0, list(heading))
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    yield ""
    yield f"{title}: {len(texts) - 1}"
    for row in texts:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()


def _time(seconds: float) -> str:
    try:
        time = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return str(seconds)
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)


def _plain(value: object) -> str:
    """Return a value as text that cannot play tricks on a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
