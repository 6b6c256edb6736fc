"""Overtaking with one region a machine, as a user and an administrator see it."""

import os
import subprocess
import sys

import pytest

from spalloc_server._queueing.machine_queue import _Machine
from spalloc_server._queueing.overtaking import Overtaking
from spalloc_server._queueing.region import Region
from tests.support.busy_life import OFF, REST, BusyLife, decisions
from tests.support.fake_clock import FakeClock
from tests.support.queueing import Owner
from tests.support.watched_queue import BrokenPromiseError

SEEDS = range(4)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("patience", [0, 300])
def test_every_job_starts_and_no_promise_is_broken(
    seed: int, patience: float, clock: FakeClock
) -> None:
    with clock.installed():
        life = BusyLife(seed, clock, patience=patience)
        life.run(120, 25)

    assert life.started.keys() == life.arrived.keys()
    # The place in line bounds the wait.
    for place, job_id in enumerate(life.arrived, start=1):
        wait = life.started[job_id] - life.arrived[job_id]
        assert wait <= place * (patience + life.longest_life + OFF + REST)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_machines_keep_the_promises_too(seed: int, clock: FakeClock) -> None:
    with clock.installed():
        life = BusyLife(seed, clock, patience=100, machines={"m": (4, 3), "n": (3, 2)})
        life.run(80, 20)

    assert life.started.keys() == life.arrived.keys()


# --- a newcomer that nobody waits before ---


def test_a_newcomer_that_starts_at_once_elsewhere_has_not_waited_for_quarantine() -> None:
    owner = Owner()
    owner.queue.on_blocked = owner.on_blocked
    owner.queue.scheduling = "overtaking"
    for name in ("m", "n"):
        owner.queue.add_machine(name, 2, 1)
    owner.queue.quarantine("m", (1, 0, 2))

    owner.queue.create_job(2, 1, job_id=1)
    owner.queue.create_job(2, 1, job_id=2)

    assert owner.news() == [("allocate", 1, "n"), ("blocked", 2, "m", {(1, 0, 2)})]
    assert owner.queue.region_of(2).machine == "n"  # type: ignore[union-attr]


def test_a_newcomer_waits_behind_the_closed_region_of_the_only_other_job() -> None:
    owner = Owner()
    owner.queue.set_order("overtaking", patience=0)
    owner.queue.add_machine("m", 2, 1)
    owner.queue.create_job(0, 0, 0, job_id=1)
    owner.queue.create_job(2, 1, job_id=2)
    owner.news()

    owner.queue.create_job(job_id=3)
    assert owner.news() == []
    owner.queue.destroy_job(2)

    assert owner.news() == [("cancel", 2, None), ("allocate", 3, "m")]


def test_a_newcomer_gets_a_region_though_a_search_for_another_went_on() -> None:
    owner = Owner()
    owner.queue.scheduling = "overtaking"
    for name in ("m", "n"):
        owner.queue.add_machine(name, 1, 1)
    owner.queue._machines["m"].unfinished = True
    owner.queue.create_job(0, 0, 0, job_id=1, machine="n")

    owner.queue.create_job(1, 1, job_id=2, machine="n")

    assert owner.queue.region_of(2) is not None


# --- the promises can be broken, and that is noticed ---


def break_promise(match: str, clock: FakeClock) -> None:
    with clock.installed(), pytest.raises(BrokenPromiseError, match=match):
        for seed in SEEDS:
            BusyLife(seed, clock).run(120, 25)


def test_a_closed_region_that_leaks_is_noticed(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr(Overtaking, "_does_leak", lambda *_: True)

    break_promise("is in the closed region", clock)


def test_a_closed_region_that_moves_is_noticed(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    def review(self: Overtaking, machine: _Machine, region: Region) -> None:
        self._move(machine, region)

    monkeypatch.setattr(Overtaking, "_review_region", review)

    break_promise("the closed region .* became", clock)


def test_a_job_that_is_not_tried_is_noticed(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr(_Machine, "note_free_boards", lambda _: None)

    break_promise("waits though it fits", clock)


# --- the same events lead to the same decisions ---


def test_decisions_do_not_depend_on_the_seed_of_hashes() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.support.busy_life", "3"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert told[0] == told[1]
    assert told[0].strip() == str(decisions(3))
