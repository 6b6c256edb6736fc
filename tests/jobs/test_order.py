"""The order in which jobs get boards: told, recorded, recovered and reloaded."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._jobs import book as _book
from spalloc_server.allocator import Allocator
from spalloc_server.controller import Controller, JobState
from spalloc_server.server import SpallocServer
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.machines import machine
from tests.support.outcomes import hear_outcomes


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    rack = Rack(monkeypatch)
    rack.at_once = True
    return rack


class Recorded:
    """A controller beside the book that its outcomes make."""

    def __init__(self) -> None:
        self.controller = Controller()
        self.controller.machines = {"m": machine("m", 4, 1)}
        self.book = copy.deepcopy(self.controller.__getstate__())
        self.outcomes: list[Any] = []
        hear_outcomes(self.controller, self._hear)

    def _hear(self, outcome: Any) -> None:
        self.outcomes.append(outcome)
        _book.apply(self.book, json.loads(json.dumps(outcome)))

    def kinds(self) -> list[str]:
        """The kinds of outcomes about places, since the last time."""
        told = [each[0] for each in self.outcomes]
        self.outcomes.clear()
        return [kind for kind in told if kind in {"allocated", "region", "scheduling", "ended"}]

    def killed(self) -> Controller:
        """What the next start makes of it, if it dies now."""
        return Controller.restore(copy.deepcopy(self.book))


@pytest.fixture
def recorded(rack: Rack, clock: HandClock) -> Recorded:
    """Job 1 has a triad, job 2 waits for all four, and has a region."""
    recorded = Recorded()
    recorded.controller.set_order("overtaking", 1000.0)
    recorded.controller.create_job(None, 1, 1, owner="me", keepalive=None)
    recorded.controller.create_job(None, 4, 1, owner="me", keepalive=None)
    return recorded


def test_the_change_is_told_before_its_consequences(rack: Rack, clock: HandClock) -> None:
    recorded = Recorded()
    recorded.controller.create_job(None, 1, 1, owner="me", keepalive=None)
    clock.advance(400)
    recorded.controller.create_job(None, 4, 1, owner="me", keepalive=None)
    recorded.controller.create_job(None, 1, 1, owner="me", keepalive=None)
    recorded.kinds()

    recorded.controller.set_order("overtaking", 1000.0)

    assert recorded.kinds() == ["scheduling", "allocated", "region"]
    recorded.controller.set_order("overtaking", 1000.0)
    assert recorded.kinds() == []
    assert (recorded.book["scheduling"], recorded.book["patience"]) == ("overtaking", 1000.0)


def test_an_order_that_is_not_there_changes_nothing(recorded: Recorded) -> None:
    recorded.kinds()

    with pytest.raises(ValueError, match="not 'lifo'"):
        recorded.controller.set_order("lifo", 5)
    with pytest.raises(ValueError, match="not -1"):
        recorded.controller.set_order("fcfs", -1)

    assert recorded.kinds() == []
    assert recorded.controller.scheduling == "overtaking"
    assert recorded.controller.patience == 1000.0


def test_a_region_is_as_it_was_told_after_a_kill(recorded: Recorded, clock: HandClock) -> None:
    clock.advance(600)
    recorded.controller.create_job(None, owner="me", keepalive=None)
    clock.today += 5000  # while the server is down

    after = recorded.killed()

    region = after._job_queue.region_of(2)
    assert region is not None
    assert (region.machine, region.place, region.closed) == ("m", (0, 0, 4, 1), False)
    assert region.age == pytest.approx(600)
    assert after.scheduling == "overtaking"
    # Jobs run on while the server is down.
    assert after._job_queue.allocated_for(1) == pytest.approx(5600)


def test_a_closed_region_stays_closed_after_a_kill(recorded: Recorded, clock: HandClock) -> None:
    clock.advance(1000)
    recorded.controller.create_job(None, owner="me", keepalive=None)

    after = recorded.killed()

    region = after._job_queue.region_of(2)
    assert region is not None
    assert region.closed
    assert region.age == pytest.approx(1000)
    after.create_job(None, owner="me", keepalive=None)
    assert after.get_job_state(None, 3).state is JobState.queued
    assert after.get_job_state(None, 4).state is JobState.queued


def test_a_region_is_as_it_was_after_a_stop(recorded: Recorded, clock: HandClock) -> None:
    clock.advance(300)
    saved = copy.deepcopy(recorded.controller.__getstate__())
    clock.today += 5000

    after = Controller.restore(saved)

    region = after._job_queue.region_of(2)
    assert region is not None
    assert region.age == pytest.approx(300)
    assert saved["jobs"][2]["region"]["place"] == [0, 0, 4, 1]


def test_a_region_ends_with_the_start_of_its_job_and_its_age_is_kept(
    recorded: Recorded, clock: HandClock
) -> None:
    clock.advance(50)
    recorded.controller.destroy_job(None, 1)
    clock.advance(30)
    recorded.controller.check_free()

    assert recorded.controller.get_job_state(None, 2).state is JobState.ready
    region = recorded.book["jobs"][2]["region"]
    assert (region["machine"], region["place"]) == (None, None)
    after = recorded.killed()
    assert after._job_queue.region_of(2) is None
    assert after._job_queue.region_age(2) == pytest.approx(80)


def test_regions_end_with_the_order_and_with_the_machine(recorded: Recorded) -> None:
    other = Recorded()
    other.controller.set_order("overtaking", 1000.0)
    other.controller.create_job(None, 1, 1, owner="me", keepalive=None)
    other.controller.create_job(None, 4, 1, owner="me", keepalive=None)

    recorded.controller.set_order("fcfs", 1000.0)
    other.controller.machines = {"m": machine("m", 4, 1, net=2)}

    assert recorded.book["jobs"][2]["region"] is None
    assert recorded.killed()._job_queue.region_age(2) is None
    # Without job 1 job 2 starts on the machine that is made anew.
    assert other.book["jobs"][2]["region"]["machine"] is None
    assert other.killed()._job_queue.region_of(2) is None


@pytest.mark.parametrize(
    ("order", "kind"),
    [("fcfs", Allocator), ("fcfs-grid", GridAllocator), ("overtaking", GridAllocator)],
)
def test_blocks_are_imposed_on_the_recorded_kind_of_allocator(
    rack: Rack, clock: HandClock, order: str, kind: type
) -> None:
    recorded = Recorded()
    recorded.controller.set_order(order, 60.0)
    recorded.controller.create_job(None, 2, 1, owner="me", keepalive=None)

    after = recorded.killed()

    allocator = after._job_queue._machines["m"].allocator
    assert type(allocator) is kind
    assert list(allocator.allocations.values()) == [("triads", 0, 0, 2, 1)]
    assert (after.scheduling, after.patience) == (order, 60.0)


def test_a_state_of_1_0_0_begins_first_come_first_served(rack: Rack, clock: HandClock) -> None:
    recorded = Recorded()
    recorded.controller.create_job(None, 1, 1, owner="me", keepalive=None)
    old = recorded.controller.__getstate__()
    for name in ("scheduling", "patience", "told_at", "ended"):
        del old[name]
    for job in old["jobs"].values():
        for name in ("region", "fault", "allocated_at", "ready_at", "principal", "code"):
            job.pop(name, None)

    after = Controller.restore(_book.upgrade(old, 1))

    assert (after.scheduling, after.patience) == ("fcfs", 7200.0)
    assert after._job_queue.allocation_of(1) == ("m", 1)


# --- the server ---

CONFIG = """
configuration = Configuration(
    machines=[Machine.single_board("m", bmp_ip="10.1.0.0", spinnaker_ip="10.1.0.1")],
    ip="127.0.0.1",
)
"""


def test_the_server_overtakes_unless_its_configuration_says_otherwise(
    rack: Rack, tmp_path: Path
) -> None:
    config = tmp_path / "m.cfg"
    config.write_text(CONFIG)

    with SpallocServer(str(config), port=0) as server:
        controller = server._controller
        first = (controller.scheduling, controller.patience)
        config.write_text(CONFIG + 'scheduling = "fcfs-grid"\npatience = 60\n')
        assert server.read_config_file() is True
        reloaded = (controller.scheduling, controller.patience)
        config.write_text(CONFIG + 'scheduling = "fifo"\n')
        assert server.read_config_file() is False
        kept = (controller.scheduling, controller.patience)

    assert first == ("overtaking", 7200.0)
    assert reloaded == kept == ("fcfs-grid", 60)
