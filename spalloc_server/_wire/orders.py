"""The orders that an operator may give a running server at its control socket.

::

    -> {"do": "list"}
    -> {"do": "find", "boards": ["spin5:c0f2"]}
    -> {"do": "add", "boards": ["spin5:3,2,1", "spin5:c0f2b4-7"], "reason": "new FPGA"}
    -> {"do": "release", "boards": ["spin5:c0f2b17"]}
    -> {"do": "release", "all": true}
    -> {"do": "jobs"}
    -> {"do": "end", "jobs": [17], "reason": "gone home"}
    <- {"ok": true, "data": {...}}    or    {"ok": false, "text": "..."}

Owns the words and their meaning; all boards and jobs of an order are checked before any
is touched.  Knows neither sockets nor threads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spalloc_server._jobs.board_names import USAGE, read_boards
from spalloc_server._jobs.out_of_service import counted
from spalloc_server._places import Board, Place

if TYPE_CHECKING:
    from spalloc_server.controller import Controller

log = logging.getLogger(__name__)


#: Characters of a reason.
_LONGEST_REASON = 500


def carry_out(controller: Controller, line: str) -> str:
    """Carry out one order, and return the line that answers it; never raises."""
    try:
        order = json.loads(line)
        if not isinstance(order, dict):
            raise ValueError("an order is a JSON object")
        with controller.undisturbed:
            data = _do(controller, order)
    except (ValueError, RecursionError) as e:
        return json.dumps({"ok": False, "text": str(e)})
    except Exception as e:
        log.exception("an operator's order failed")
        return json.dumps({"ok": False, "text": f"the server failed: {type(e).__name__}: {e}"})
    return json.dumps({"ok": True, "data": data})


def _do(controller: Controller, order: dict[str, Any]) -> dict[str, Any]:
    what = order.get("do")
    do = _ORDERS.get(what) if isinstance(what, str) else None
    if do is None:
        raise ValueError(f"no order {what!r}; there are {', '.join(sorted(_ORDERS))}")
    return do(controller, order)


# --- boards ---


def _list(controller: Controller, _order: dict[str, Any]) -> dict[str, Any]:
    return {
        "out": [row._asdict() for row in controller.out_of_service()],
        "waiting": [
            {"job": job_id, "machine": name, "boards": sorted(boards)}
            for job_id, name, boards in controller.waiting_jobs()
        ],
    }


def _find(controller: Controller, order: dict[str, Any]) -> dict[str, Any]:
    return _told(_boards(controller, order.get("boards")), [])


def _add(controller: Controller, order: dict[str, Any]) -> dict[str, Any]:
    found = _boards(controller, order.get("boards"))
    reason = _reason(order.get("reason"))
    notes = []
    for name, boards in found.items():
        controller.hold_boards(name, boards, reason)
        dead = sorted(controller.machines[name].dead_boards & set(boards))
        if dead:
            notes.append(f"{counted(dead)} of machine {name}: dead by the configuration already")
    return _told(found, notes)


def _release(controller: Controller, order: dict[str, Any]) -> dict[str, Any]:
    if order.get("all") is True:
        out = controller.out_of_service()
        found = {row.machine: [b.board for b in out if b.machine == row.machine] for row in out}
    else:
        found = _boards(controller, order.get("boards"))
    released = {name: controller.release_boards(name, found[name]) for name in found}
    notes = []
    silent = [
        row for row in controller.out_of_service() if row.board in found.get(row.machine, ())
    ]
    for name in dict.fromkeys(row.machine for row in silent):
        boards = [row.board for row in silent if row.machine == name]
        notes.append(
            f"{counted(boards)} of machine {name}: will come back when the frame answers again"
        )
    if not any(released.values()):
        where = " and ".join(f"{counted(boards)} of machine {n}" for n, boards in found.items())
        raise ValueError("; ".join(notes) or f"not out of service: {where or 'nothing is'}")
    return _told(released, notes)


def _told(found: dict[str, list[Board]], notes: list[str]) -> dict[str, Any]:
    boards = [
        {"machine": name, "board": board} for name, boards in found.items() for board in boards
    ]
    return {"boards": boards, "notes": notes}


def _boards(controller: Controller, texts: object) -> dict[str, list[Board]]:
    """Find boards by an operator's names for them: {machine: boards}, each once."""
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError("which boards?")
    found: dict[str, dict[Board, None]] = {}
    for text in texts:
        wanted = read_boards(text)
        machine = controller.machines.get(wanted.machine)
        if machine is None:
            known = ", ".join(controller.machines) or "none"
            usage = f"; {USAGE}" if ":" in wanted.machine else ""
            raise ValueError(f"{text}: no machine {wanted.machine!r}; there are {known}{usage}")
        boards = sorted(
            board
            for board, place in machine.board_locations.items()
            if wanted.has(board, Place(place))
        )
        if not boards:
            such = "such board" if wanted.is_one else "such boards"
            raise ValueError(f"{text}: machine {wanted.machine!r} has no {such}")
        found.setdefault(wanted.machine, {}).update(dict.fromkeys(boards))
    return {name: list(boards) for name, boards in found.items()}


# --- jobs ---


def _jobs(controller: Controller, _order: dict[str, Any]) -> dict[str, Any]:
    return {"on_grace": [job._asdict() for job in controller.jobs_on_grace()]}


def _end(controller: Controller, order: dict[str, Any]) -> dict[str, Any]:
    jobs = order.get("jobs")
    if not isinstance(jobs, list) or not jobs or not all(type(job) is int for job in jobs):
        raise ValueError("which jobs? their numbers are needed")
    known = {job.job_id for job in controller.list_jobs()}
    missing = sorted(set(jobs) - known)
    if missing:
        raise ValueError(f"no job {', '.join(map(str, missing))}; nothing was ended")
    reason = f"Ended by an operator: {_reason(order.get('reason'))}"
    for job_id in dict.fromkeys(jobs):
        controller.end_job(job_id, reason)
    return {"jobs": list(dict.fromkeys(jobs))}


_ORDERS: dict[str, Callable[[Controller, dict[str, Any]], dict[str, Any]]] = {
    "list": _list,
    "find": _find,
    "add": _add,
    "release": _release,
    "jobs": _jobs,
    "end": _end,
}


def _reason(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError("a reason is needed, for those who read it later")
    if len(text) > _LONGEST_REASON:
        raise ValueError(f"a reason of at most {_LONGEST_REASON} characters, not {len(text)}")
    return " ".join(text.split())
