"""Saved states that are wrong in one place, though their checksums are right.

Each is refused as a whole, with one of the errors that the server expects, or taken over; then
everything that is asked for afterwards works.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from spalloc_server import _clock, controller
from spalloc_server.controller import Controller
from tests.support.recovery_life import Frame, json_copy, random_life

_MUTATIONS = int(os.environ.get("BOOK_MUTATIONS", "300"))
_SEED = os.environ.get("BOOK_SEED", "20261128")

#: The errors at which the server sets a state aside and says so.
EXPECTED = (LookupError, TypeError, ValueError, AttributeError)

VALUES: list[Any] = [
    None, True, -1, 0, 2.5, 10**30, float("nan"), float("inf"), "", "x", "\ud800", [], [1], [[]],
    {}, {"a": 1}, [None, None, None],
]  # fmt: skip


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    clock = {"now": 5000.0}
    Frame.frames = []
    monkeypatch.setattr(_clock, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(_clock, "wall", lambda: 1.7e9 + clock["now"])
    with mock.patch.object(controller, "AsyncBMPController", Frame):
        yield clock


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a book with each of its keys or indexes."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places_in(value[key])


def mutate(book: Any, dice: random.Random) -> str:
    """Change one place of a book; returns what was done."""
    container, key = dice.choice(list(places_in(book)))
    if isinstance(container, dict) and dice.random() < 0.2:
        del container[key]
        return f"{key!r} left out"
    if isinstance(container, list) and dice.random() < 0.3:
        container.append(copy.deepcopy(container[key]))
        return f"{container[key]!r} twice"
    before, container[key] = container[key], dice.choice(VALUES)
    return f"{key!r}: {container[key]!r} instead of {before!r}"


def ask_everything(taken: Controller, clock: dict[str, float]) -> None:
    taken.takeover_grace = 10.0
    overview = taken.overview
    for ask in (
        taken.list_jobs, taken.list_machines, overview.list_queue, overview.out_of_service,
        overview.waiting_jobs, overview.jobs_on_grace, overview.census, overview.facility,
        taken.__getstate__, taken.take_changes,
    ):  # fmt: skip
        asked: Callable[[], Any] = ask
        asked()
    overview.list_ended_jobs(1000)
    for name in taken.machines:
        assert overview.list_boards(name)
    job_id = taken.create_job("10.0.0.1", owner="me")
    for known in (*taken._jobs, *taken._retired_jobs, job_id):
        taken.get_job_state("10.0.0.1", known)
        taken.get_job_machine_info("10.0.0.1", known)
        overview.get_job_outlook(known)
        taken.upkeep.report_problem("10.0.0.1", known, (0, 0, 0), "smoke")
        taken.power_on_job_boards("10.0.0.1", known)
    for later in (1.0, 100.0, 1e5, 1e7):
        clock["now"] += later
        taken.next_due(clock["now"])
        taken.check_free()
        taken.check_health(clock["now"])
        for frame in list(Frame.frames):
            while frame.waiting:
                frame.waiting.pop(0).on_done(True)
    taken.destroy_timed_out_jobs()
    for known in list(taken._jobs):
        taken.destroy_job("10.0.0.1", known)
    taken.__getstate__()


@pytest.mark.parametrize("batch", range(6))
def test_a_wrong_book_is_refused_or_works(batch: int, time: dict[str, float]) -> None:
    life = random_life(f"{_SEED}-{batch}", 150)
    whole = json_copy(life.final)  # type: ignore[attr-defined]
    dice = random.Random(f"{_SEED}-{batch}")
    refused = 0

    for _ in range(_MUTATIONS // 6):
        Frame.frames = []
        time["now"] = 5000.0
        book = copy.deepcopy(whole)
        done = mutate(book, dice)
        try:
            taken = Controller.restore(book)
        except EXPECTED:
            refused += 1
            continue
        try:
            ask_everything(taken, time)
        except Exception as e:
            raise AssertionError(f"seed {_SEED}-{batch}: {done}") from e
    assert 0 < refused < _MUTATIONS // 6
    assert json.dumps(whole)
