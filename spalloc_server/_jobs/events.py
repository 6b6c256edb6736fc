"""Events: outcomes in the words of readers, see ``list_events`` in the protocol.

Owns the form of every event, and the numbers by which readers know what they have heard
already.  Keeps just enough of the book to name the place that a job had and the boards that came
back.

The first number of each commit is journalled with its outcomes (`_jobs.write_ahead` counts), so
that a start can make the same events again, with the same numbers.  A start begins at the Unix
time in microseconds, or above the last number known if that is higher: a number never comes
twice, whatever was lost.

Events are made by the first thread that looks at them, mostly that of the events file, in the
order of their numbers.  Must not know files or clients.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spalloc_server import __version__, _clock
from spalloc_server._jobs.board_states import boards_in
from spalloc_server._jobs.book import Book, Outcome

if TYPE_CHECKING:
    from spalloc_server._jobs.write_ahead import EventBatch

log = logging.getLogger(__name__)

#: Numbers stay below this: each has an exact double.
_MOST = 2**53

Event = dict[str, Any]


class EventMaker:
    """Makes events of outcomes.

    Parameters
    ----------
    book : mapping
        The state before the first outcome (see `_jobs.book`).
    """

    def __init__(self, book: Mapping[str, Any]) -> None:
        self._machines: dict[str, dict[str, Any]] = dict(book["machines"])
        self._quarantine: dict[str, dict[str, Any] | None] = dict(book["quarantine"])
        # {job id: (machine, allocation id, place)} of jobs with boards.
        self._held: dict[int, tuple[str, int, list[int]]] = {}
        # {(machine, allocation id): (job id, place)} of boards on their way to off or at rest.
        self._left: dict[tuple[str, int], tuple[int | None, list[int]]] = {}
        for job_id, job in book["jobs"].items():
            if job["allocation"] is not None:
                self._held[job_id] = _held(job["allocation"])
        for name, going in book["going"].items():
            for number, each in going.items():
                self._left[name, number] = each["job"], list(each["outcome"][1:])
        for name, resting in book["resting"].items():
            for number, (footprint, _) in resting.items():
                self._left[name, number] = None, list(footprint[1:])

    def make(self, outcome: Sequence[Any], wall: float) -> list[Event]:
        """Return the events of an outcome that is told now; many outcomes have none.

        Parameters
        ----------
        outcome : sequence
            See `_jobs.book`.
        wall : float
            Unix time, for outcomes without a time of their own.
        """
        maker = _MAKERS.get(outcome[0])
        if maker is None:
            return []
        events = list(maker(self, *outcome[1:]))
        for event in events:
            event.setdefault("time", wall)
        return events

    # --- jobs ---

    def _created(self, job_id: int, record: Mapping[str, Any]) -> Iterator[Event]:
        yield {
            "event": "created",
            "time": record["start_time"],
            "job": job_id,
            "owner": record["owner"],
            "host": record["host"],
            "keepalive": record["keepalive"],
            "args": record["args"],
            "kwargs": record["kwargs"],
        }

    def _allocated(self, job_id: int, allocation: Mapping[str, Any], at: float) -> Iterator[Event]:
        self._held[job_id] = machine, _, place = _held(allocation)
        boards = allocation["boards"]
        event: Event = {
            "event": "allocated",
            "time": at,
            "job": job_id,
            "machine": machine,
            "place": place,
            "boards": len(boards),
        }
        if len(place) == 4 and len(boards) < 3 * place[2] * place[3]:
            given = {(x, y, z) for x, y, z in boards}
            without = sorted(set(boards_in(allocation["outcome"])) - given)
            event["without"] = [list(board) for board in without]
        yield event

    def _power(self, job_id: int, on: bool) -> Iterator[Event]:
        yield {"event": "power", "job": job_id, "on": on}

    def _ready(self, job_id: int, at: float) -> Iterator[Event]:
        yield {"event": "ready", "time": at, "job": job_id}

    def _requeued(self, job_id: int, attempts: int, fault: Mapping[str, Any]) -> Iterator[Event]:
        machine, place = self._leave(job_id)
        yield {
            "event": "moved",
            "job": job_id,
            "machine": machine,
            "place": place,
            "attempt": attempts,
            "fault": fault["text"],
            "board": fault["board"],
            "physical": fault["physical"],
        }

    def _ended(
        self, job_id: int, reason: str | None, ending: Mapping[str, Any]
    ) -> Iterator[Event]:
        machine, place = self._leave(job_id)
        yield {
            "event": "ended",
            "time": ending["at"],
            "job": job_id,
            "reason": reason,
            "by": ending["by"],
            "by_host": ending["host"],
            "by_principal": ending.get("principal"),
            "machine": machine,
            "place": place,
        }

    def _leave(self, job_id: int) -> tuple[str | None, list[int] | None]:
        """Note that a job has its boards no more; returns the machine and place."""
        held = self._held.pop(job_id, None)
        if held is None:
            return None, None
        machine, allocation_id, place = held
        self._left[machine, allocation_id] = job_id, place
        return machine, place

    def _returned(self, machine: str, allocation_id: int) -> Iterator[Event]:
        job_id, place = self._left[machine, allocation_id]
        yield {"event": "freed", "job": job_id, "machine": machine, "place": place}

    def _rested(self, machine: str, allocation_ids: Iterable[int]) -> Iterator[Event]:
        places = [self._left.pop((machine, number))[1] for number in allocation_ids]
        yield {"event": "rested", "machine": machine, "places": places}

    # --- machines ---

    def _changed(
        self,
        order: Sequence[str],
        changed: Iterable[dict[str, Any]],
        removed: Iterable[str],
        _orphans: object,
    ) -> Iterator[Event]:
        before = {name: number for number, name in enumerate(self._machines)}
        for name in removed:
            yield from self._quarantined(name, None, {"how": "removed"})
            del self._machines[name], before[name]
            for key in [key for key in self._left if key[0] == name]:
                del self._left[key]
            yield {"event": "machine changed", "machine": name, "change": "removed"}
        plain = {machine["name"]: machine for machine in changed}
        self._machines = {name: plain.get(name) or self._machines[name] for name in order}
        for priority, name in enumerate(order):
            if name not in before:
                yield _machine(self._machines[name], priority, "added")
            elif name in plain or before[name] != priority:
                yield _machine(self._machines[name], priority, "changed")

    def all_machines(self, wall: float) -> list[Event]:
        """Return an event for each machine there is, as if it were added."""
        return [
            {"time": wall, **_machine(machine, priority, "added")}
            for priority, machine in enumerate(self._machines.values())
        ]

    # --- boards out of service ---

    def _quarantined(
        self,
        machine: str,
        plain: dict[str, Any] | None,
        cause: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        cause = cause or {}
        before, self._quarantine[machine] = self._quarantine.get(machine), plain
        known = self._machines.get(machine)
        if known is None:
            return
        places = {tuple(board): place for board, place in known["board_locations"]}
        old, new = _cases(before), _cases(plain)
        for board, case in new.items():
            if _told(case) != _told(old.get(board)):
                yield _board_out(machine, board, places.get(board), case, cause.get("job"))
        silent, was_silent = _silent(plain), _silent(before)
        for frame in sorted(silent - was_silent):
            yield _frame_out(known, frame, cause.get("job"))
        back: Event = {"event": "board back", "machine": machine}
        how = cause.get("how", "removed")
        for board in sorted(old.keys() - new.keys()):
            yield {**back, "board": list(board), "physical": places.get(board), "how": how}
        for frame in sorted(was_silent - silent):
            yield {**back, "board": None, "frame": list(frame), "how": how}

    # --- operators ---

    def _message(self, text: str | None, accepting: bool) -> Iterator[Event]:
        yield {"event": "message", "text": text, "accepting": accepting}

    def _order(self, entry: Mapping[str, Any]) -> Iterator[Event]:
        given = {key: value for key, value in entry.items() if key != "at"}
        yield {**given, "event": "audit", "time": entry["at"]}

    def _taken_over(self, job_id: int, principal: str) -> Iterator[Event]:
        yield {"event": "audit", "order": "principal", "id": job_id, "by": principal}

    def _as_told(self, event: Event) -> Iterator[Event]:
        yield dict(event)


_MAKERS: dict[str, Callable[..., Iterator[Event]]] = {
    "created": EventMaker._created,
    "allocated": EventMaker._allocated,
    "power": EventMaker._power,
    "ready": EventMaker._ready,
    "requeued": EventMaker._requeued,
    "ended": EventMaker._ended,
    "returned": EventMaker._returned,
    "rested": EventMaker._rested,
    "machines": EventMaker._changed,
    "quarantine": EventMaker._quarantined,
    "message": EventMaker._message,
    "order": EventMaker._order,
    "principal": EventMaker._taken_over,
    "event": EventMaker._as_told,
}
#: Outcomes of these kinds make any number of events; the others in `_MAKERS` make one each.
_SEVERAL = frozenset({"machines", "quarantine"})


def _held(allocation: Mapping[str, Any]) -> tuple[str, int, list[int]]:
    return allocation["machine"], allocation["id"], list(allocation["outcome"][1:])


def _machine(plain: Mapping[str, Any], priority: int, change: str) -> Event:
    dead = {tuple(board) for board in plain["dead_boards"]}
    return {
        "event": "machine changed",
        "machine": plain["name"],
        "change": change,
        "width": plain["width"],
        "height": plain["height"],
        "live": sum(tuple(board) not in dead for board, _ in plain["board_locations"]),
        "tags": plain["tags"],
        "dead_boards": plain["dead_boards"],
        "dead_links": plain["dead_links"],
        "priority": priority,
    }


def _board_out(
    machine: str,
    board: tuple[int, ...],
    physical: list[int] | None,
    case: Mapping[str, Any],
    job_id: int | None,
) -> Event:
    return {
        "event": "board out",
        "machine": machine,
        "board": list(board),
        "physical": physical,
        "kind": case["kind"] if case["sure"] else "suspected",
        "text": case["what"],
        "sure": case["sure"],
        "job": job_id,
        "until": case["due"],
    }


def _frame_out(machine: Mapping[str, Any], frame: tuple[int, ...], job_id: int | None) -> Event:
    hosts = {tuple(known): host for known, host in machine["bmp_ips"]}
    return {
        "event": "board out",
        "machine": machine["name"],
        "board": None,
        "frame": list(frame),
        "boards": sum(tuple(place[:2]) == frame for _, place in machine["board_locations"]),
        "kind": "silent",
        "text": f"BMP {hosts.get(frame)} does not answer",
        "sure": True,
        "job": job_id,
        "until": None,
    }


def _cases(plain: Mapping[str, Any] | None) -> dict[tuple[int, ...], dict[str, Any]]:
    return {} if plain is None else {tuple(case["board"]): case for case in plain["cases"]}


def _silent(plain: Mapping[str, Any] | None) -> set[tuple[int, ...]]:
    return set() if plain is None else {tuple(frame) for frame, _ in plain["silent"]}


def _told(case: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
    """Return the parts of a case that readers are told of when they change."""
    return None if case is None else (case["kind"], case["what"], case["sure"])


class EventNumbers:
    """Makes the events of a controller, each with its number.

    Parameters
    ----------
    book : dict or None
        The state before `records`: that of the snapshot; None for a cold start.
    records : sequence of sequences
        The outcomes that the journal has since, one sequence for each commit.
    last_filed : int
        Number of the last event in the events file; 0 if there is none.

    Attributes
    ----------
    last : int
        Number of the last event so far.
    unfiled : list of dict
        Events of before the start that the file lacks, then those of the start.
    unmade : deque of EventBatch
        Events that are yet to be made, in the order of their numbers.
    """

    kinds = frozenset(_MAKERS)
    several = _SEVERAL

    def __init__(
        self, book: Book | None, records: Iterable[Sequence[Outcome]], last_filed: int
    ) -> None:
        self._cold = book is None
        plain = None if book is None else book.get("events")
        self._state: int | None = None if plain is None else plain["state"]
        self.last = max(last_filed, 0 if plain is None else plain["last"])
        self.unfiled: list[Event] = [] if plain is None else list(plain["unfiled"])
        if book is not None and plain is not None:
            self._tell_again(book, records)
        self.unfiled = [event for event in self.unfiled if event["number"] > last_filed]
        self.unmade: deque[EventBatch] = deque()
        # Guards the maker, and who takes a batch out of `unmade`.
        self._making = threading.Lock()
        self._maker: EventMaker

    def _tell_again(self, book: Book, records: Iterable[Sequence[Outcome]]) -> None:
        """Tell the events of the journal with the numbers that it has for them."""
        maker = EventMaker(book)
        for outcomes in records:
            untold: list[Outcome] = []
            for outcome in outcomes:
                if outcome[0] != "events":
                    untold.append(outcome)
                    continue
                _, first, count, time = outcome
                for event in self._tell(maker, ((each, time) for each in untold), first)[0]:
                    if event["number"] < first + count:
                        self.unfiled.append(event)
                self.last = max(self.last, first + count - 1)
                untold = []
            self._tell(maker, ((each, 0.0) for each in untold), 0)

    def begin(self, book: Book) -> None:
        """Tell of the start, on top of a whole state; from here on outcomes are noted."""
        self._maker = EventMaker(book)
        known = self.last or None
        now = _clock.wall()
        number = min(max(self.last + 1, int(now * 1e6)), _MOST - 1)
        first_of_all = self._state is None
        if self._state is None:
            self._state = number
        started = {
            "event": "started",
            "time": now,
            "last": known,
            "cold": self._cold,
            "version": __version__,
        }
        told = [started, *(self._maker.all_machines(now) if first_of_all else ())]
        for event in told:
            self.unfiled.append(self._numbered(event, number))
            self.last = number
            number += 1

    def _numbered(self, event: Event, number: int) -> Event:
        return {"number": number, "state": self._state, **event}

    def make(self, batch: EventBatch) -> None:
        """Make the events of a batch, and of those before it; any thread."""
        with self._making:
            while batch.events is None:
                each = self.unmade.popleft()
                events, following = self._tell(self._maker, each.outcomes, each.first)
                each.events, each.last = events, following - 1
                each.outcomes = []

    def _tell(
        self, maker: EventMaker, outcomes: Iterable[tuple[Outcome, float]], number: int
    ) -> tuple[list[Event], int]:
        """Make the events of outcomes; returns them, and the number after the last one's.

        The numbers depend on the outcomes alone, also where an event cannot be made.
        """
        events: list[Event] = []
        for outcome, wall in outcomes:
            made = _made(maker, outcome, wall)
            events += [self._numbered(event, n) for n, event in enumerate(made, number)]
            if outcome[0] in _SEVERAL:
                number += len(made)
            elif outcome[0] in _MAKERS:
                number += 1
        return events, number

    def plain(self, unfiled: list[Event]) -> dict[str, Any]:
        """Return the numbers, and the events that the file may lack, for the book."""
        return {"last": self.last, "state": self._state, "unfiled": unfiled}


def _made(maker: EventMaker, outcome: Outcome, wall: float) -> list[Event]:
    """Return the events of an outcome; none if our own mistake prevents it."""
    try:
        return maker.make(outcome, wall)
    except Exception:
        log.exception("nobody is told of an outcome: %.200r", outcome)
        return []
