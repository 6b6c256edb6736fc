"""The server's answers as rows with names and types.

An answer of another form than the protocol's is a ProtocolError here, so that no other
module needs to look twice. Fields that old servers leave out are optional.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from spalloc_client.errors import ProtocolError
from spalloc_client.states import JobState

_T = TypeVar("_T")

Board = tuple[int, int, int]

#: Calendars know no such times (Unix, seconds), nor need they.  # arbitrary
_END_OF_TIME = 1e11


class JobStatus(NamedTuple):
    """The answer to get_job_state."""

    state: JobState
    power: bool | None
    keepalive: float | None
    reason: str | None
    start_time: float | None
    keepalive_host: str | None


class JobMachine(NamedTuple):
    """The answer to get_job_machine_info: all None until boards are allocated."""

    width: int | None
    height: int | None
    connections: dict[tuple[int, int], str] | None
    machine_name: str | None
    boards: list[Board] | None


class JobRow(NamedTuple):
    """A job in list_jobs."""

    job_id: int
    owner: str
    start_time: float | None
    keepalive: float | None
    state: JobState
    power: bool | None
    args: tuple[int, ...]
    kwargs: dict[str, Any]
    machine: str | None
    boards: list[Board] | None
    keepalive_host: str | None


class MachineRow(NamedTuple):
    """A machine in list_machines; `width` and `height` in triads."""

    name: str
    tags: frozenset[str]
    width: int
    height: int
    dead_boards: frozenset[Board]
    dead_links: frozenset[tuple[int, int, int, int]]


class Place(NamedTuple):
    """The answer to where_is."""

    machine: str
    logical: Board
    physical: Board
    chip: tuple[int, int]
    board_chip: tuple[int, int]
    job_id: int | None
    job_chip: tuple[int, int] | None


def reader(read: Callable[[Any], _T]) -> Callable[[Any], _T]:
    """Turn any error while an answer is read into a ProtocolError."""

    def read_or_raise(answer: Any) -> _T:
        try:
            return read(answer)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
            text = repr(answer)
            raise ProtocolError(
                f"the server's answer makes no sense: {text[:80]}{'...' * (len(text) > 80)}"
            ) from exc

    return read_or_raise


def read_board(values: Any) -> Board:
    """Read coordinates x, y, z."""
    x, y, z = values
    return int(x), int(y), int(z)


def _boards(values: Any) -> list[Board] | None:
    return None if values is None else [read_board(value) for value in values]


def _pair(values: Any) -> tuple[int, int]:
    x, y = values
    return int(x), int(y)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def read_time(value: Any) -> float | None:
    """Read a time (Unix, seconds) that a calendar knows, or null."""
    time = _number(value)
    if time is not None and not abs(time) < _END_OF_TIME:
        raise ValueError
    return time


def read_text(value: Any) -> str | None:
    """Read a text, or null."""
    return None if value is None else str(value)


def _power(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _link(values: Any) -> tuple[int, int, int, int]:
    x, y, z, link = values
    return int(x), int(y), int(z), int(link)


@reader
def read_job_id(answer: Any) -> int:
    """Read the answer to create_job."""
    if not isinstance(answer, int):
        raise TypeError
    return answer


@reader
def read_status(answer: Any) -> JobStatus:
    """Read the answer to get_job_state."""
    return JobStatus(
        JobState(answer["state"]),
        _power(answer["power"]),
        _number(answer["keepalive"]),
        read_text(answer.get("reason")),
        read_time(answer.get("start_time")),
        read_text(answer.get("keepalivehost")) or None,
    )


@reader
def read_machine_info(answer: Any) -> JobMachine:
    """Read the answer to get_job_machine_info."""
    if answer["connections"] is None:
        return JobMachine(None, None, None, None, None)
    return JobMachine(
        int(answer["width"]),
        int(answer["height"]),
        {_pair(chip): str(hostname) for chip, hostname in answer["connections"]},
        str(answer["machine_name"]),
        _boards(answer["boards"]),
    )


def _job(value: Any) -> JobRow:
    return JobRow(
        int(value["job_id"]),
        str(value["owner"]),
        read_time(value.get("start_time")),
        _number(value["keepalive"]),
        JobState(value["state"]),
        _power(value["power"]),
        tuple(int(number) for number in value["args"] if number is not None),
        dict(value["kwargs"]),
        read_text(value["allocated_machine_name"]),
        _boards(value["boards"]),
        read_text(value.get("keepalivehost")) or None,
    )


@reader
def read_jobs(answer: Any) -> list[JobRow]:
    """Read the answer to list_jobs."""
    return [_job(value) for value in answer]


def _machine(value: Any) -> MachineRow:
    return MachineRow(
        str(value["name"]),
        frozenset(str(tag) for tag in value["tags"]),
        int(value["width"]),
        int(value["height"]),
        frozenset(read_board(board) for board in value["dead_boards"]),
        frozenset(_link(link) for link in value["dead_links"]),
    )


@reader
def read_machines(answer: Any) -> list[MachineRow]:
    """Read the answer to list_machines."""
    return [_machine(value) for value in answer]


@reader
def read_place(answer: Any) -> Place | None:
    """Read the answer to where_is."""
    if answer is None:
        return None
    job_id, job_chip = answer["job_id"], answer["job_chip"]
    return Place(
        str(answer["machine"]),
        read_board(answer["logical"]),
        read_board(answer["physical"]),
        _pair(answer["chip"]),
        _pair(answer["board_chip"]),
        None if job_id is None else int(job_id),
        None if job_chip is None else _pair(job_chip),
    )
