"""What was measured: works, samples, and the table made of them.

Owns the arithmetic of ratios and how results are shown.  Knows nothing of servers.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

from benchmarks.processes import BARE, ORIGINAL, OURS


class Work(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    name : str
        By which it is chosen on the command line.
    title : str
    unit : str
    ratio : float or None
        How many times better than the original ours is to be.
    limit : float or None
        What ours is to keep within, whatever the original does; in `unit`.
    more : bool
        Whether more is better; else less is.
    bare : bool
        Whether a loop that does nothing can be measured, too.
    """

    name: str
    title: str
    unit: str
    ratio: float | None = None
    limit: float | None = None
    more: bool = False
    bare: bool = False


class Spread(NamedTuple):
    """How often ours is better: the median of the rounds, the least and the most."""

    middle: float
    least: float
    most: float


class Result:
    """The samples of one work, in order of the rounds.

    Attributes
    ----------
    samples, processor : dict
        {contestant: [in the work's unit, ...]}, and microseconds of processor time for
        each command where that is known.
    failures : dict
        {contestant: why it has no (further) samples}.
    note : str
        What else was seen.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.samples: dict[str, list[float]] = {OURS: [], ORIGINAL: [], BARE: []}
        self.processor: dict[str, list[float]] = {OURS: [], ORIGINAL: [], BARE: []}
        self.failures: dict[str, str] = {}
        self.note = ""

    def median(self, name: str) -> float | None:
        """Return a contestant's median, None without samples."""
        samples = self.samples[name]
        return statistics.median(samples) if samples else None

    def times_better(self) -> Spread | None:
        """Compare round by round, since what else the computer does changes between them."""
        return _spread(self.samples[OURS], self.samples[ORIGINAL], turned=not self.work.more)

    def times_thriftier(self) -> Spread | None:
        """Compare the processor time of each command, round by round."""
        return _spread(self.processor[OURS], self.processor[ORIGINAL], turned=True)

    def most_to_reach(self) -> Spread | None:
        """Compare the loop that does nothing with the original."""
        return _spread(self.samples[BARE], self.samples[ORIGINAL], turned=not self.work.more)

    def reached(self) -> bool | None:
        """Return whether the target is reached, None if there is nothing to compare."""
        value, better = self.median(OURS), self.times_better()
        if OURS in self.failures:
            return False
        if self.work.limit is not None:
            return value is not None and value <= self.work.limit
        if self.work.ratio is None or better is None:
            return None
        return better.middle >= self.work.ratio

    def plain(self) -> dict[str, Any]:
        """Return all of it as builtins for JSON."""
        better, thriftier, most = (
            self.times_better(),
            self.times_thriftier(),
            self.most_to_reach(),
        )
        return {
            **self.work._asdict(),
            "samples": self.samples,
            "processor_us": self.processor,
            "failures": self.failures,
            "ours": self.median(OURS),
            "original": self.median(ORIGINAL),
            "times_better": None if better is None else better._asdict(),
            "times_thriftier": None if thriftier is None else thriftier._asdict(),
            "times_better_bare": None if most is None else most._asdict(),
            "reached": self.reached(),
            "note": self.note,
        }


def table(results: Iterable[Result]) -> str:
    """Return a table for people."""
    rows: list[tuple[str, ...]] = [
        ("work", "ours", "original", "ratio", "spread", "CPU", "target", "")
    ]
    rows += [_row(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    notes = [f"{r.work.name}: {r.note}" for r in results if r.note]
    notes += [_of_bare(r, most) for r in results if (most := r.most_to_reach())]
    notes += [f"{r.work.name}: {name} {why}" for r in results for name, why in r.failures.items()]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _row(result: Result) -> tuple[str, ...]:
    work = result.work
    better, thriftier = result.times_better(), result.times_thriftier()
    if work.limit is not None:
        target = f"<= {work.limit:g} {work.unit}"
    else:
        target = "" if work.ratio is None else f">= {work.ratio:g} x"
    return (
        f"{work.name}: {work.title}",
        _shown(result, OURS),
        _shown(result, ORIGINAL),
        "" if better is None else f"{better.middle:.2f} x",
        "" if better is None else f"{better.least:.2f} - {better.most:.2f}",
        "" if thriftier is None else f"{thriftier.middle:.2f} x",
        target,
        {True: "ok", False: "MISSED", None: ""}[result.reached()],
    )


def _of_bare(result: Result, most: Spread) -> str:
    """Say what a loop that does nothing reaches."""
    return (
        f"{result.work.name}: a bare loop {_shown(result, BARE)}, "
        f"{most.middle:.2f} x ({most.least:.2f} - {most.most:.2f})"
    )


def _shown(result: Result, name: str) -> str:
    value = result.median(name)
    if value is None:
        return "failed" if name in result.failures else ""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f} {result.work.unit}"


def _spread(ours: list[float], original: list[float], *, turned: bool) -> Spread | None:
    pairs = [(b, a) if turned else (a, b) for a, b in zip(ours, original, strict=False)]
    ratios = [a / b for a, b in pairs if b]
    if not ratios:
        return None
    return Spread(statistics.median(ratios), min(ratios), max(ratios))
