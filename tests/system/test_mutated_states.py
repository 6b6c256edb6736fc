"""States that are sound by their checksums and nonsense by their content.

A start goes on from them or begins without jobs and keeps the file aside; it never fails,
and the server serves afterwards.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import __version__
from spalloc_server._jobs import book
from spalloc_server._saved import state_file
from spalloc_server._saved.saved_file import Header
from spalloc_server.server import SpallocServer
from tests.support.lasting_hardware import Facility, facility

__all__ = ("facility",)

_SEED = 20261128
_STATES = int(os.environ.get("MUTATED_STATES", "60"))
#: Values that stand in for others.
_OTHERS: list[Any] = [
    None,
    True,
    0,
    -1,
    2**70,
    -(2**70),
    1.5,
    float("nan"),
    float("inf"),
    "",
    "\udc80",
    "x" * 5000,
    b"bytes",
    [],
    [[]],
    [0, 0],
    {},
    {"a": 1},
    (),
    frozenset(),
]


def containers(value: Any) -> Iterator[Any]:
    """Return all dicts and lists in a state that have something in them."""
    if isinstance(value, dict) and value:
        yield value
        for each in value.values():
            yield from containers(each)
    elif isinstance(value, list) and value:
        yield value
        for each in value:
            yield from containers(each)


def mutate(state: dict[str, Any], dice: random.Random) -> None:
    """Change one thing somewhere in a state, in place."""
    where = dice.choice(list(containers(state)))
    key = dice.choice(list(where) if isinstance(where, dict) else range(len(where)))
    what = dice.randrange(6)
    if what == 0:
        del where[key]
    elif what == 1 and isinstance(where, dict):
        where[dice.choice([None, -1, "x", 2**70, 1, (1, 2)])] = where.pop(key)
    elif what == 2:
        other = dice.choice(list(containers(state)))
        where[key] = copy.deepcopy(other)
    elif what == 3 and type(where[key]) is int:
        where[key] += dice.choice([-1, 1, 10, -10])
    else:
        where[key] = copy.deepcopy(dice.choice(_OTHERS))


@pytest.fixture
def state(facility: Facility) -> dict[str, Any]:
    """Return a state with everything in it that a short life brings about."""
    facility.configure("f", "g", more="")
    with facility.server() as server:
        for args in ((), (3,), (1, 1), (3,), (2, 1), (2, 1)):
            server.create_job(None, *args, owner="me", keepalive=60.0)
        server.destroy_job(None, 2, "done")
        server.controller.upkeep.hold_boards("f", [(0, 0, 2)], "broken")
        return copy.deepcopy(server.controller.__getstate__())


def put(facility: Facility, state: dict[str, Any]) -> Path:
    """Write a state with a right header and checksum, as of an unclean stop."""
    header = Header("state", book.FORMAT, 7, "0123456789abcdef", 9, __version__)
    data = state_file.encode(state, replace(header, clean=False))
    path = facility.config.parent / f".test.cfg.state.{__version__}"
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


def serve(server: SpallocServer) -> None:
    """Do everything with the jobs there are, and with another."""
    for row in server.list_jobs(None):
        server.get_job_state(None, row["job_id"])
        server.get_job_machine_info(None, row["job_id"])
        server.power_on_job_boards(None, row["job_id"])
        server.destroy_job(None, row["job_id"])
    server.list_machines(None)
    job_id = server.create_job(None, owner="me", keepalive=None)
    assert server.get_job_state(None, job_id)["state"] in (1, 2, 3, 4)
    server.list_events(None, 0)


@pytest.mark.parametrize("number", range(_STATES))
def test_a_mutated_state_keeps_no_server_from_serving(
    facility: Facility, state: dict[str, Any], number: int
) -> None:
    dice = random.Random(_SEED + number)
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        mutate(state, dice)
    for path in facility.config.parent.glob(".test.cfg.*"):
        if path.is_file():
            path.unlink()
    path = put(facility, state)

    with facility.server(stop_timeout=0.0) as server:
        serve(server)
        assert server.store.trouble is None
        kept = list(path.parent.glob(f"{path.name}.unreadable.*"))
        taken_over = server.store._number == 8 and not kept
        assert taken_over or kept

    with facility.server(stop_timeout=0.0) as again:
        serve(again)
        assert len(list(path.parent.glob(f"{path.name}.unreadable.*"))) == len(kept)


def test_the_state_itself_is_taken_over(facility: Facility, state: dict[str, Any]) -> None:
    path = put(facility, state)

    with facility.server(stop_timeout=0.0) as server:
        assert [row["job_id"] for row in server.list_jobs(None)] == [1, 3, 4, 5, 6]
        assert not list(path.parent.glob(f"{path.name}.unreadable.*"))
