"""What tests of jobs share: frames that answer when told to, and whole facilities."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spalloc_server.controller import Controller
from tests.support.facility import Facility
from tests.support.facility import machine as small_frames
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.job_steps import Build, told
from tests.support.machines import machine


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    return HandClock(monkeypatch)


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    return Rack(monkeypatch)


@pytest.fixture
def empty(rack: Rack, clock: HandClock) -> Iterator[Controller]:
    """No machines."""
    made = Controller()
    yield made
    made.stop()
    made.join()


@pytest.fixture
def made(empty: Controller) -> Controller:
    """One machine of 2 x 1 triads on one frame, whose changes have been told."""
    empty.machines = {"m": machine("m", 2, 1)}
    told(empty)
    return empty


@pytest.fixture
def build() -> Iterator[Build]:
    made: list[Facility] = []

    def make(*args: object, **keywords: object) -> Facility:
        facility = Facility(*args, **keywords)  # type: ignore[arg-type]
        made.append(facility)
        return facility

    yield make
    for facility in made:
        facility.close()


@pytest.fixture
def facility(build: Build) -> Facility:
    """One machine of four triads on two frames."""
    return build([small_frames()])
