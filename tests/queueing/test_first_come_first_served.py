"""The order "fcfs" decides as version 1.0.0 did, its rules for dead cables mended."""

import json

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.recorded_queue import RECORDED, SEEDS, RecordedLife


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_events_lead_to_the_recorded_decisions(seed: int) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="ascii"))[seed]

    with FakeClock().installed() as clock:
        decisions = RecordedLife(seed, clock).run()

    assert len(decisions) > 100
    assert decisions == recorded
