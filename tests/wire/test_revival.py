"""The controller that a server begins with."""

from __future__ import annotations

from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server._jobs.first_id import LIMIT
from spalloc_server._wire.revival import begin_anew, revive
from spalloc_server.controller import Controller
from tests.support.fake_frame import Rack
from tests.support.machines import machine
from tests.support.outcomes import Told


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The book of a controller with two jobs; its frames answer at once."""
    Rack(monkeypatch).at_once = True
    controller = Controller()
    controller.machines = {"m": machine("m", 1)}
    for _ in range(2):
        controller.create_job("10.0.0.1", owner="me", keepalive=None)
    book = controller.__getstate__()
    controller.stop()
    return book


def test_a_saved_state_goes_on(book: Any, caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[Any] = []
    caplog.set_level("INFO")

    controller = revive(book, Told(outcomes.append))

    assert controller is not None
    assert [job.job_id for job in controller.list_jobs()] == [1, 2]
    assert caplog.messages == ["jobs taken over from the saved state: 2"]
    controller.destroy_job(None, 1)
    assert ("ended", 1) in [outcome[:2] for outcome in outcomes]
    controller.stop()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("jobs", {7: {}}),
        ("jobs", None),
        ("machines", []),
        ("machines", {"m": 5}),
        ("next_id", "x"),
    ],
)
def test_a_state_that_contradicts_itself_is_not_taken(
    book: Any, part: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    book[part] = value

    assert revive(book, Told(print)) is None

    (record,) = caplog.records
    assert record.getMessage() == (
        "the saved state contradicts itself: it is kept aside, the jobs lost"
    )
    assert record.exc_info


@pytest.mark.parametrize("error", [KeyError(7), IndexError(), TypeError(), AttributeError("x")])
def test_any_contradiction_keeps_a_state_from_being_taken(
    book: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Controller, "restore", fail)

    assert revive(book, Told(print)) is None


def test_a_fault_that_is_no_states_ends_the_start(
    book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(Controller, "restore", fail)

    with pytest.raises(OSError, match="too many open files"):
        revive(book, Told(print))


@pytest.mark.parametrize(
    ("known", "wanted", "traces", "first", "warnings"),
    [
        (1, None, [], 1, 0),
        (300, None, [], 300, 0),
        (300, 7, [], 300, 0),
        (300, 4000, [], 4000, 1),
        (1, "clock", [], 1000, 1),
        (1, None, [".a.cfg.lock"], 1000, 1),
        (LIMIT, "clock", [], LIMIT, 0),
    ],
)
def test_without_a_state_ids_begin_above_all_that_were_given_out(  # noqa: PLR0917 - one of each
    known: int,
    wanted: int | str | None,
    traces: list[str],
    first: int,
    warnings: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_clock, "wall", lambda: 1_735_690_600.0)  # 1,000 s into 2025
    outcomes: list[Any] = []

    controller = begin_anew(known, wanted, traces, Told(outcomes.append))

    assert controller.list_jobs() == []
    assert len(caplog.messages) == warnings
    for line in caplog.messages:
        assert line.startswith(f"ids of jobs begin at {first}: ")
    assert controller.create_job(None, owner="me") == first
    assert outcomes
    controller.stop()
