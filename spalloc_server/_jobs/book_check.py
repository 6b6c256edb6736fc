"""Checks that each part of a book has the form that `_jobs.book` describes.

A saved state has a checksum, so a wrong one was written wrongly, or by somebody else.  It is
refused before any of it is imposed, with the path of the wrong part: half of a state must not
begin to work.  Parts that contradict each other are found while a book is imposed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Unix times, and numbers of seconds, are smaller; the year 5138.
_MOST = 1e11

Check = Callable[[Any], object]
#: The boards of each machine.
Boards = dict[str, set[tuple[int, ...]]]


class BadPartError(ValueError):
    """A part of a book that has the wrong form.

    Attributes
    ----------
    path : tuple
        Keys and indexes that lead to it.
    text : str
        The form that was expected, and the value.
    """

    def __init__(self, text: str, path: tuple[Any, ...] = ()) -> None:
        super().__init__(text, path)
        self.path = path
        self.text = text

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path)) or 'the book'}: {self.text}"


def check_book(book: Any) -> None:
    """Raise an error unless a book of today's format is whole.

    Raises
    ------
    BadPartError
        Naming the first part that is not.
    """
    _BOOK(book)
    known: Boards = {}
    for name, machine in book["machines"].items():
        _check_frames(name, machine)
        known[name] = {tuple(board) for board, _ in machine["board_locations"]}
    for job_id, job in book["jobs"].items():
        if job["allocation"] is not None:
            _check_boards(known, ("jobs", job_id, "allocation"), job["allocation"])
    for name, allocations in book["going"].items():
        for number, each in allocations.items():
            _check_boards(known, ("going", name, number), {"machine": name, **each})


def _check_frames(name: str, machine: dict[str, Any]) -> None:
    """Check that a machine has its own name, and a BMP for the frame of each board."""
    if machine["name"] != name:
        raise BadPartError(f"the machine is called {machine['name']!r}", ("machines", name))
    frames = {tuple(frame) for frame, _ in machine["bmp_ips"]}
    for board, place in machine["board_locations"]:
        if tuple(place[:2]) not in frames:
            raise BadPartError(f"no BMP for board {board} at {place}", ("machines", name))


def _check_boards(known: Boards, path: tuple[Any, ...], allocation: dict[str, Any]) -> None:
    """Check that the boards of an allocation are on its machine."""
    boards = known.get(allocation["machine"])
    if boards is None:
        raise BadPartError(f"no machine {allocation['machine']!r}", path)
    for board in allocation["boards"]:
        if tuple(board) not in boards:
            raise BadPartError(f"machine {allocation['machine']!r} has no board {board}", path)
    own = {tuple(board) for board in allocation["boards"]}
    for x, y, z, _ in allocation.get("periphery", ()):
        if (x, y, z) not in own:
            raise BadPartError(f"a link of board {[x, y, z]}, which is not its own", path)


# --- the forms ---


def _fail(expected: str, value: object) -> BadPartError:
    return BadPartError(f"{value!r:.80} is not {expected}")


def _is_of(kind: type, expected: str) -> Check:
    def check(value: object) -> None:
        if type(value) is not kind:
            raise _fail(expected, value)

    return check


def _whole(least: int = 0, most: int = 2**63) -> Check:
    def check(value: object) -> None:
        if type(value) is not int or not least <= value <= most:
            raise _fail(f"a whole number from {least} to {most}", value)

    return check


def _number(value: object) -> None:
    if type(value) not in (int, float) or not -_MOST < value < _MOST:  # type: ignore[operator]
        raise _fail("a number of seconds, or a time", value)


def _seconds(value: object) -> None:
    _number(value)
    if value < 0:  # type: ignore[operator]
        raise _fail("a number of seconds", value)


def _or_none(check: Check) -> Check:
    def check_it(value: object) -> None:
        if value is not None:
            check(value)

    return check_it


def _anything(_value: object) -> None:
    """Accept any value: its reader judges it."""


def _list_of(check: Check) -> Check:
    def check_it(value: object) -> None:
        if not isinstance(value, (list, tuple)):
            raise _fail("a list", value)
        for index, each in enumerate(value):
            _within(index, check, each)

    return check_it


def _row_of(*checks: Check) -> Check:
    def check_it(value: object) -> None:
        if not isinstance(value, (list, tuple)) or len(value) != len(checks):
            raise _fail(f"a list of {len(checks)}", value)
        for index, (check, each) in enumerate(zip(checks, value, strict=True)):
            _within(index, check, each)

    return check_it


def _map_of(key: Check, check: Check) -> Check:
    def check_it(value: object) -> None:
        if not isinstance(value, dict):
            raise _fail("an object", value)
        for name, each in value.items():
            _within(name, key, name)
            _within(name, check, each)

    return check_it


def _record(**checks: Check) -> Check:
    def check_it(value: object) -> None:
        if not isinstance(value, dict):
            raise _fail("an object", value)
        for name, check in checks.items():
            if name not in value:
                raise BadPartError("missing", (name,))
            _within(name, check, value[name])

    return check_it


def _within(key: object, check: Check, value: object) -> None:
    try:
        check(value)
    except BadPartError as e:
        raise BadPartError(e.text, (key, *e.path)) from None


def _footprint(value: object) -> None:
    if not isinstance(value, (list, tuple)) or not value:
        raise _fail("a footprint", value)
    _list_of(_small)(value[1:])
    if (value[0], len(value)) not in (("board", 4), ("triads", 5), ("boards", 5)):
        raise _fail("a footprint", value)


def _place(value: object) -> None:
    _list_of(_small)(value)
    if len(value) not in (3, 4):  # type: ignore[arg-type]
        raise _fail("a place: [x, y, z] or [x, y, width, height]", value)


_text = _is_of(str, "text")
_flag = _is_of(bool, "true or false")
_small = _whole(most=2**31)
_triple = _row_of(_small, _small, _small)
_link = _whole(most=5)
_id = _whole()
_signed = _whole(-(2**63))

_MACHINE = _record(
    name=_text,
    tags=_list_of(_text),
    width=_small,
    height=_small,
    dead_boards=_list_of(_row_of(_signed, _signed, _signed)),
    dead_links=_list_of(_row_of(_signed, _signed, _signed, _link)),
    board_locations=_list_of(_row_of(_triple, _triple)),
    bmp_ips=_list_of(_row_of(_row_of(_small, _small), _text)),
    spinnaker_ips=_list_of(_row_of(_triple, _text)),
)
_ALLOCATION = _record(
    machine=_text,
    id=_id,
    outcome=_footprint,
    boards=_list_of(_triple),
    periphery=_list_of(_row_of(_small, _small, _small, _link)),
    torus=_whole(most=3),
)
_REGION = _record(
    machine=_or_none(_text),
    place=_or_none(_place),
    closed=_flag,
    age=_seconds,
    at=_number,
)
_JOB = _record(
    owner=_text,
    start_time=_number,
    keepalive=_or_none(_seconds),
    host=_or_none(_text),
    args=_list_of(_whole()),
    kwargs=_map_of(_text, _anything),
    state=_whole(1, 3),
    power=_or_none(_flag),
    attempts=_small,
    fault=_or_none(_text),
    was_ready=_flag,
    allocated_at=_or_none(_number),
    ready_at=_or_none(_number),
    principal=_or_none(_text),
    code=_or_none(_text),
    region=_or_none(_REGION),
    allocation=_or_none(_ALLOCATION),
)
_ENDED = _row_of(
    _text,
    _or_none(_text),
    _number,
    _or_none(_number),
    _or_none(_number),
    _number,
    _or_none(_text),
    _or_none(_place),
    _or_none(_small),
    _text,
    _or_none(_text),
    _or_none(_text),
)
_CASE = _record(
    board=_triple,
    kind=_text,
    what=_text,
    since=_number,
    tests=_small,
    due=_or_none(_number),
    sure=_flag,
)
_QUARANTINE = _record(
    cases=_list_of(_CASE),
    silent=_list_of(_row_of(_row_of(_small, _small), _number)),
    faults=_list_of(_row_of(_triple, _list_of(_row_of(_number, _text)))),
)
_GOING = _record(job=_id, outcome=_footprint, boards=_list_of(_triple))

_BOOK = _record(
    next_id=_whole(1),
    max_retired_jobs=_signed,
    seconds_before_free=_seconds,
    scheduling=_text,
    patience=_seconds,
    told_at=_or_none(_number),
    machines=_map_of(_text, _MACHINE),
    jobs=_map_of(_id, _JOB),
    retired=_map_of(_id, _or_none(_text)),
    ended=_map_of(_id, _ENDED),
    going=_map_of(_text, _map_of(_signed, _GOING)),
    resting=_map_of(_text, _map_of(_id, _row_of(_footprint, _seconds))),
    orphans=_map_of(_text, _list_of(_small)),
    quarantine=_map_of(_text, _QUARANTINE),
    message=_row_of(_or_none(_text), _flag),
)
