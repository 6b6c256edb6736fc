"""What an operator may ask of a running server at its control socket.

::

    -> {"do": "list"}
    -> {"do": "add", "boards": ["spin5:3,2,1"], "reason": "new FPGA"}
    -> {"do": "release", "boards": ["spin5:c0f2b17"]}
    <- {"ok": true, "data": {...}}    or    {"ok": false, "text": "..."}

Owns the words and their meaning; all boards of an order are checked before any
is touched.  Knows neither sockets nor threads.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from spalloc_server._jobs.board_names import read_board
from spalloc_server._places import Board

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
    if what == "list":
        return {
            "out": [row._asdict() for row in controller.out_of_service()],
            "waiting": [
                {"job": job_id, "machine": name, "boards": sorted(boards)}
                for job_id, name, boards in controller.waiting_jobs()
            ],
        }
    if what not in ("add", "release"):
        raise ValueError(f"no order {what!r}; there are add, list, release")
    boards = _boards(controller, order.get("boards"))
    if what == "add":
        reason = _reason(order.get("reason"))
        for name, board in boards:
            controller.hold_board(name, board, reason)
    else:
        out = {(row.machine, row.board) for row in controller.out_of_service()}
        for name, board in boards:
            if (name, board) not in out:
                raise ValueError(f"board {board} of machine {name!r} is not out of service")
        for name, board in boards:
            controller.release_board(name, board)
    return {"boards": [{"machine": name, "board": board} for name, board in boards]}


def _boards(controller: Controller, texts: object) -> list[tuple[str, Board]]:
    """Find boards by what an operator wrote, each once."""
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError("which boards?")
    found = []
    for text in texts:
        name, place, physical = read_board(text)
        if name not in controller.machines:
            known = ", ".join(controller.machines) or "none"
            raise ValueError(f"{text}: no machine {name!r}; there are {known}")
        board: Board | None = place
        if physical:
            board = controller.get_board_at_position(name, *place)
        elif controller.get_board_position(name, *place) is None:
            board = None
        if board is None:
            raise ValueError(f"{text}: machine {name!r} has no such board")
        found.append((name, board))
    return list(dict.fromkeys(found))


def _reason(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError("a reason is needed, for whoever reads the list")
    if len(text) > _LONGEST_REASON:
        raise ValueError(f"a reason of at most {_LONGEST_REASON} characters, not {len(text)}")
    return " ".join(text.split())
