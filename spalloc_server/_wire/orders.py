"""Orders of operators: at the control socket, and by the command ``operate``.

::

    {"do": "list"}                                   boards out of service, jobs that wait for them
    {"do": "find", "boards": [...]}                  which boards are meant
    {"do": "out",  "boards": [...], "reason": "..."} after their present jobs
    {"do": "back", "boards": [...]} or "all": true
    {"do": "test", "boards": [...]}                  boards out of service, now
    {"do": "jobs"}                                   all jobs, with their principals
    {"do": "job",  "id": 5}
    {"do": "end",  "id": 5, "if_owner": "...", "reason": "..."}
    {"do": "give", "id": 5, "principal": "cert:ada"}
    {"do": "message", "text": "..." or null, "accepting": true}
    {"do": "access", "address": "...", "certificate": "...", "unix_user": "...", "user": "..."}

    -> {"ok": true, "data": {...}}    or    {"ok": false, "text": "..."}

Boards are written as in `_jobs.board_names`.  Owns the words and their meaning; an order is
checked as a whole before anything is changed.  Knows neither sockets nor threads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from spalloc_server._access.identity import Identity, parse_address, parse_principal
from spalloc_server._access.policy import Policy
from spalloc_server._checks import values
from spalloc_server._jobs.board_names import USAGE, BoardsName, read_boards
from spalloc_server._jobs.out_of_service import counted
from spalloc_server._places import Board, Place

if TYPE_CHECKING:
    from spalloc_server.controller import Controller

log = logging.getLogger(__name__)

#: Characters of a reason, a message or a name.
_LONGEST_TEXT = 500

#: Older words for orders, which scripts may have.
_OLDER_WORDS = {"add": "out", "release": "back", "drain": "out"}


class Operator(NamedTuple):
    """The giver of an order.

    Attributes
    ----------
    principal : str
        For example ``unix:0``.
    told : str or None
        The name that the program gave for the person behind it, such as the user of sudo.
        Nobody has checked it.
    """

    principal: str
    told: str | None = None

    def __str__(self) -> str:
        return self.principal if self.told is None else f"{self.principal} ({self.told})"


class Desk(NamedTuple):
    """Everything that an order may use."""

    controller: Controller
    policy: Policy
    operator: Operator


def carry_out(controller: Controller, policy: Policy, line: str, principal: str) -> str:
    """Carry out one order, and return the line that answers it; never raises.

    Parameters
    ----------
    controller : Controller
    policy : Policy
        In force, for ``access``.
    line : str
        The order as JSON; its ``told`` is the name of the person, as told.
    principal : str
        Of the connection.
    """
    try:
        order = json.loads(line)
        if not isinstance(order, dict):
            raise ValueError("an order is a JSON object")
        told = order.pop("told", None)
        told = told[:_LONGEST_TEXT] if isinstance(told, str) and told else None
        data = obey(Desk(controller, policy, Operator(principal, told)), order)
    except (ValueError, RecursionError) as e:
        return json.dumps({"ok": False, "text": str(e)})
    except Exception as e:
        log.exception("an operator's order failed")
        return json.dumps({"ok": False, "text": f"the server failed: {type(e).__name__}: {e}"})
    return json.dumps({"ok": True, "data": data})


def read_order(order: object, reason: object = None) -> dict[str, Any]:
    """Read a client's order; the name of the person, as told, is for the control socket alone.

    Parameters
    ----------
    order : object
        The argument of ``operate``.
    reason : object
        For the users concerned; None if none is given.

    Raises
    ------
    TypeError
        If the order is no object, or the reason no text.
    """
    if not isinstance(order, dict):
        wanted = "expected an object, such as {'do': 'jobs'}"
        raise TypeError(f"order is {values.shown(order)}: {wanted}")
    given = {key: value for key, value in order.items() if key != "told"}
    if reason is not None:
        given["reason"] = values.text("reason", reason)
    return given


def obey(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    """Carry out an order that was read.

    Raises
    ------
    ValueError
        If it is of bad form, or cannot be carried out; nothing was changed.
    """
    word = order.get("do")
    word = _OLDER_WORDS.get(word, word) if isinstance(word, str) else word
    found = _ORDERS.get(word) if isinstance(word, str) else None
    if found is None:
        raise ValueError(f"no order {values.shown(word)}; there are {', '.join(sorted(_ORDERS))}")
    unknown = set(order) - {"do"} - set(found.keys)
    if unknown:
        key = values.shown(min(unknown))
        raise ValueError(f"{word}: no key {key}; there are {', '.join(found.keys)}")
    with desk.controller.undisturbed:
        data = found.carry_out(desk, order)
        if found.changes:
            given = {key: value for key, value in order.items() if key != "do"}
            desk.controller.notice.note_order(str(word), given, *desk.operator)
    return data


# --- boards ---


def _list(desk: Desk, _: dict[str, Any]) -> dict[str, Any]:
    controller = desk.controller
    return {
        "out": [row._asdict() for row in controller.overview.out_of_service()],
        "waiting": [
            {"job": job_id, "machine": name, "boards": sorted(boards)}
            for job_id, name, boards in controller.overview.waiting_jobs()
        ],
    }


def _find(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    return _rows(_boards(desk.controller, order.get("boards")))


def _out(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    controller = desk.controller
    found = _boards(controller, order.get("boards"))
    reason = _text("reason", order.get("reason"), "is needed, for the readers of the list")
    machines = controller.machines
    dead = [(name, board) for name, board in found if board in machines[name].dead_boards]
    live = [each for each in found if each not in dead]
    for name, boards in _by_machine(live).items():
        controller.upkeep.hold_boards(name, boards, reason)
    taken = {(row.machine, row.board): row.job_id for row in controller.overview.out_of_service()}
    jobs = sorted({job for each in live if (job := taken.get(each)) is not None})
    return {**_rows(live), "dead": _rows(dead)["boards"], "jobs": jobs}


def _back(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    controller = desk.controller
    out = {(row.machine, row.board): row for row in controller.overview.out_of_service()}
    if order.get("all") is True and order.get("boards") is None:
        found = list(out)
        if not found:
            raise ValueError("not out of service: nothing is")
    else:
        found = _out_of(controller, order.get("boards"), set(out))
    released = [
        (name, board)
        for name, boards in _by_machine(found).items()
        for board in controller.upkeep.release_boards(name, boards)
    ]
    silent = sorted(set(found) - set(released))
    if silent and not released:
        raise ValueError("; ".join(_silent(silent)))
    return {**_rows(released), "notes": _silent(silent)}


def _silent(boards: list[tuple[str, Board]]) -> list[str]:
    """Say of boards that a silent frame has that an operator cannot put them back."""
    return [
        f"{counted(found)} of machine {name}: will come back when the frame answers again"
        for name, found in _by_machine(boards).items()
    ]


def _by_machine(boards: list[tuple[str, Board]]) -> dict[str, list[Board]]:
    found: dict[str, list[Board]] = {}
    for name, board in boards:
        found.setdefault(name, []).append(board)
    return found


def _test(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    controller = desk.controller
    out = {(row.machine, row.board) for row in controller.overview.out_of_service()}
    found = _out_of(controller, order.get("boards"), out)
    for name, board in found:
        controller.upkeep.test_board(name, board)
    return _rows(found)


def _out_of(
    controller: Controller, texts: object, out: set[tuple[str, Board]]
) -> list[tuple[str, Board]]:
    """Find the boards that are out of service among those that were written."""
    found = []
    for text, selected in _selections(controller, texts):
        here = [each for each in selected if each in out]
        if not here:
            name = selected[0][0]
            which = counted([board for _, board in selected])
            raise ValueError(f"{text}: not out of service: {which} of machine {name}")
        found += here
    return list(dict.fromkeys(found))


def _boards(controller: Controller, texts: object) -> list[tuple[str, Board]]:
    """Find boards by the operator's words, each once."""
    return list(
        dict.fromkeys(each for _, found in _selections(controller, texts) for each in found)
    )


def _selections(
    controller: Controller, texts: object
) -> list[tuple[str, list[tuple[str, Board]]]]:
    """Find the boards of each of the operator's texts."""
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError("which boards? expected a list of texts")
    return [(text, _selected(controller, text, read_boards(text))) for text in texts]


def _selected(controller: Controller, text: str, wanted: BoardsName) -> list[tuple[str, Board]]:
    """Find the boards of a name; dead ones only if one of them was named by itself."""
    name = wanted.machine
    machine = controller.machines.get(name)
    if machine is None:
        known = ", ".join(controller.machines) or "none"
        usage = f"; {USAGE}" if ":" in name else ""
        raise ValueError(f"{text}: no machine {name!r}; there are {known}{usage}")
    found = sorted(
        board
        for board, place in machine.board_locations.items()
        if wanted.has(board, Place(place))
    )
    if not found:
        raise ValueError(f"{text}: machine {name!r} has no such board{'s' * (not wanted.is_one)}")
    live = [board for board in found if board not in machine.dead_boards]
    if not live and not wanted.is_one:
        raise ValueError(f"{text}: all its boards are dead in the configuration")
    return [(name, board) for board in (found if wanted.is_one else live)]


def _rows(boards: list[tuple[str, Board]]) -> dict[str, Any]:
    return {"boards": [{"machine": name, "board": board} for name, board in boards]}


# --- jobs ---


def _jobs(desk: Desk, _: dict[str, Any]) -> dict[str, Any]:
    controller = desk.controller
    on_grace = {each.job_id: each.until for each in controller.overview.jobs_on_grace()}
    waiting = {each["job_id"]: each for each in controller.overview.list_queue()["jobs"]}
    return {
        "jobs": [
            _job_row(controller, row, on_grace, waiting.get(row.job_id))
            for row in controller.list_jobs()
        ]
    }


def _job(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    job_id = _job_id(desk, order)
    on_grace = {each.job_id: each.until for each in desk.controller.overview.jobs_on_grace()}
    (row,) = (row for row in desk.controller.list_jobs() if row.job_id == job_id)
    outlook = desk.controller.overview.get_job_outlook(job_id)
    return _job_row(desk.controller, row, on_grace, outlook)


def _job_row(
    controller: Controller,
    row: Any,
    on_grace: dict[int, float],
    outlook: dict[str, Any] | None,
) -> dict[str, Any]:
    """Describe a job; `outlook` is its object of ``list_queue``, if it waits."""
    return {
        "id": row.job_id,
        "owner": row.owner,
        "principal": controller.belonging.principal_of(row.job_id),
        "state": row.state.name,
        "power": row.power,
        "created": row.start_time,
        "keepalive": row.keepalive,
        "keepalive_host": row.keepalivehost or None,
        "on_grace_until": on_grace.get(row.job_id),
        "request": [*row.args],
        "machine": row.allocated_machine_name,
        "boards": None if row.boards is None else counted(row.boards),
        "why": None if outlook is None else _why(outlook["machines"]),
    }


def _why(machines: list[dict[str, Any]]) -> str:
    """Say why a job waits, for each machine that it waits for."""
    if len(machines) == 1:
        return str(machines[0]["why"])
    return "; ".join(f"{each['name']}: {each['why']}" for each in machines)


def _end(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    job_id = _job_id(desk, order)
    (row,) = (row for row in desk.controller.list_jobs() if row.job_id == job_id)
    wanted = order.get("if_owner")
    if wanted is not None and row.owner != wanted:
        raise ValueError(f"job {job_id} is of {row.owner!r}, not of {wanted!r}: nothing was done")
    reason = order.get("reason")
    words = f"Ended by an operator, {desk.operator}"
    if reason is not None:
        words += f": {_text('reason', reason, 'must be text')}"
    desk.controller.end_job(job_id, words, desk.operator.principal)
    return {"id": job_id, "owner": row.owner, "reason": words}


def _give(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    job_id = _job_id(desk, order)
    principal = parse_principal(_text("principal", order.get("principal"), "is needed"))
    before = desk.controller.belonging.principal_of(job_id)
    desk.controller.belonging.give_job(job_id, principal)
    return {"id": job_id, "before": before, "principal": principal}


def _job_id(desk: Desk, order: dict[str, Any]) -> int:
    job_id = order.get("id")
    if type(job_id) is not int:
        raise ValueError(f"id is {job_id!r}: expected the number of a job")
    if desk.controller.belonging.principal_of(job_id) is None:
        raise ValueError(f"there is no job {job_id} now")
    return job_id


# --- the facility ---


def _message(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    text, accepting = order.get("text"), order.get("accepting", True)
    if text is not None:
        text = _text("text", text, "must be text, or null for none")
    if not isinstance(accepting, bool):
        raise ValueError(f"accepting is {accepting!r}: expected true or false")
    desk.controller.notice.set(text, accepting)
    return {"text": text, "accepting": accepting}


def _access(desk: Desk, order: dict[str, Any]) -> dict[str, Any]:
    address = order.get("address")
    parsed = parse_address(address) if isinstance(address, str) else None
    if address is not None and parsed is None:
        raise ValueError(f"address is {address!r}: expected an IP address")
    names = {key: order.get(key) for key in ("certificate", "unix_user", "user")}
    for key, value in names.items():
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{key} is {value!r}: expected a name")
    identity = Identity(address=parsed, **names)
    if identity == Identity():
        raise ValueError("whose access? expected an address, a certificate or a user")
    access, number = desk.policy.judge(identity)
    rules = desk.policy.rules
    rule = None if number is None or rules is None else rules[number - 1]
    return {
        "principal": identity.principal,
        "access": access.name,
        "rule": number,
        "who": None if rule is None else rule.who,
        "rules": None if rules is None else len(rules),
        "isolation": desk.policy.isolation,
    }


def _text(name: str, value: object, wanted: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} {wanted}, not {value!r}")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"a {name} of at most {_LONGEST_TEXT} characters, not {len(value)}")
    return " ".join(value.split())


class _Order(NamedTuple):
    """One kind of order: its function, its keys, and whether it changes anything."""

    carry_out: Callable[[Desk, dict[str, Any]], dict[str, Any]]
    keys: tuple[str, ...] = ()
    changes: bool = True


_ORDERS: dict[str, _Order] = {
    "list": _Order(_list, changes=False),
    "find": _Order(_find, ("boards",), changes=False),
    "out": _Order(_out, ("boards", "reason")),
    "back": _Order(_back, ("boards", "all")),
    "test": _Order(_test, ("boards",)),
    "jobs": _Order(_jobs, changes=False),
    "job": _Order(_job, ("id",), changes=False),
    "end": _Order(_end, ("id", "if_owner", "reason")),
    "give": _Order(_give, ("id", "principal")),
    "message": _Order(_message, ("text", "accepting")),
    "access": _Order(
        _access, ("address", "certificate", "unix_user", "user"), changes=False
    ),
}
