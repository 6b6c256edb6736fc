"""Operators' orders of the made-up server, as far as pages see them."""

from __future__ import annotations

from typing import Any

from tests.support.facility import Board, Facility

STATES = {1: "queued", 2: "power", 3: "ready"}


def operate(facility: Facility, order: dict[str, Any], user: str) -> dict[str, Any]:
    """Carry out an order, and answer as the server does."""
    word = order["do"]
    if word == "list":
        return {"out": _out(facility), "waiting": []}
    if word == "jobs":
        return {"jobs": [_job(facility, job_id) for job_id in facility.jobs]}
    if word in {"job", "end", "give"}:
        return _about_job(facility, order, user)
    if word == "access":
        if order.get("address", "192.0.2.1") != "192.0.2.1":
            raise ValueError(f"address is {order['address']!r}: expected an IP address")
        principal = f"user:{order.get('user', 'nobody')}"
        return {"principal": principal, "access": "use", "rule": 3, "who": "user:*",
                "rules": 4, "isolation": "jobs"}
    if word == "message":
        facility.accepting = order["accepting"]
        facility.say(order["text"])
        return {"text": order["text"], "accepting": order["accepting"]}
    return _about_boards(facility, order)


def _about_job(facility: Facility, order: dict[str, Any], user: str) -> dict[str, Any]:
    job_id = order["id"]
    if job_id not in facility.jobs:
        raise ValueError(f"there is no job {job_id} now")
    if order["do"] == "job":
        return _job(facility, job_id)
    if order["do"] == "give":
        facility.principals[job_id] = order["principal"]
        return {"id": job_id, "before": "host:10.0.0.7", "principal": order["principal"]}
    owner = facility.jobs[job_id]["owner"]
    if owner != order["if_owner"]:
        raise ValueError(f"job {job_id} is of {owner!r}, not of {order['if_owner']!r}")
    reason = f"Ended by an operator, user:{user}: {order['reason']}"
    facility.end(job_id, reason)
    return {"id": job_id, "owner": owner, "reason": reason}


def _job(facility: Facility, job_id: int) -> dict[str, Any]:
    job = facility.jobs[job_id]
    boards = job["boards"]
    return {
        "id": job_id,
        "owner": job["owner"],
        "principal": f"host:{job['keepalivehost']}",
        "state": STATES[job["state"]],
        "power": job["power"],
        "created": job["start_time"],
        "keepalive": job["keepalive"],
        "keepalive_host": job["keepalivehost"],
        "on_grace_until": None,
        "request": job["args"],
        "machine": job["allocated_machine_name"],
        "boards": f"{len(boards)} boards" if boards else None,
    }


def _out(facility: Facility) -> list[dict[str, Any]]:
    return [
        {
            "machine": name,
            "board": board,
            "physical": facility.board_position(name, *board),
            "bmp": "192.168.0.1",
            "address": None,
            "kind": "operator",
            "what": text or "",
            "since": 1_764_000_000.0,
            "faults": 0,
            "tests": 0,
            "next_test": None,
            "job_id": job_id,
        }
        for name, machine in facility.machines.items()
        for board, (state, job_id, text) in machine.boards.items()
        if state in {"out", "draining"}
    ]


def _about_boards(facility: Facility, order: dict[str, Any]) -> dict[str, Any]:
    out = {(row["machine"], row["board"]) for row in _out(facility)}
    if order.get("all"):
        found = sorted(out)
    else:
        found = [each for text in order["boards"] for each in _named(facility, text)]
    if order["do"] in {"back", "test"}:
        found = [each for each in found if each in out]
        if not found:
            raise ValueError("not out of service")
    if order["do"] == "out":
        for name, board in found:
            job_id = facility.machines[name].boards[board][1]
            facility.set_board(name, board, "draining" if job_id else "out", job_id)
    if order["do"] == "back":
        for name, board in found:
            facility.machines[name].boards[board] = ("free", None, None)
            facility.event("board back", machine=name, board=list(board))
    rows = [{"machine": name, "board": board} for name, board in found]
    jobs = {facility.machines[name].boards[board][1] for name, board in found} - {None}
    return {
        "boards": rows,
        "dead": rows[:1] if "dead" in str(order.get("reason")) else [],
        "jobs": sorted(jobs, key=int),
        "notes": ["1 board will come back"] if order.get("all") else [],
    }


def _named(facility: Facility, text: str) -> list[tuple[str, Board]]:
    name, _, rest = text.partition(":")
    if name not in facility.machines:
        raise ValueError(f"{text}: no machine {name!r}")
    boards = facility.machines[name].boards
    if not rest:
        return [(name, board) for board in boards]
    wanted = [board for board in boards if ",".join(map(str, board)) == rest]
    if not wanted:
        raise ValueError(f"{text}: machine {name!r} has no such board")
    return [(name, board) for board in wanted]
