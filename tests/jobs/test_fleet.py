"""How frames' threads begin and end."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from spalloc_server import controller as controller_module
from spalloc_server._places import Frame
from spalloc_server.controller import Controller, JobState
from tests.support.fake_frame import FakeFrame, Rack
from tests.support.job_steps import HOST, run_job, told
from tests.support.machines import machine


def test_every_entry_of_bmp_ips_has_a_frame(empty: Controller, rack: Rack) -> None:
    plain = machine()
    odd = plain._replace(bmp_ips={**plain.bmp_ips, (3, 4): "10.9.9.9"})
    same_host = machine("same")

    empty.machines = {"m": odd, "same": same_host}

    assert [frame.hostname for frame in rack.frames] == [HOST, "10.9.9.9", HOST]
    assert empty._bmp_controllers["m"][Frame((3, 4))] is rack["10.9.9.9"]  # type: ignore[comparison-overlap]


def test_new_frames_wait_for_all_old_ones_and_the_setter_for_none(
    empty: Controller, rack: Rack
) -> None:
    empty.machines = {"a": machine("a"), "b": machine("b", net=2)}
    a, b = rack.frames
    empty.machines = {"a": machine("a", net=3), "b": machine("b", 2, 1, net=2)}
    new = rack.frames[2:]

    assert [frame.hostname for frame in new] == ["10.3.0.0", "10.2.0.0"]
    assert (a.joins, b.joins) == (0, 0)
    for frame in new:
        assert frame.on_thread_start is not None
        thread = threading.Thread(target=frame.on_thread_start)
        thread.start()
        thread.join()
    assert (a.joins, b.joins) == (2, 2)
    assert new[0].on_thread_start is not None
    new[0].on_thread_start()
    assert (a.joins, b.joins) == (3, 3)


def test_a_frame_may_begin_within_its_constructor(
    empty: Controller, rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Eager(FakeFrame):
        def __init__(self, hostname: str, on_thread_start: Any = None) -> None:
            super().__init__(rack, hostname, on_thread_start)
            on_thread_start()

    monkeypatch.setattr(controller_module, "AsyncBMPController", Eager)

    empty.machines = {"m": machine()}

    assert list(empty.machines) == ["m"]


def test_a_frame_that_cannot_be_made_leaves_everything_as_it_was(
    made: Controller, rack: Rack
) -> None:
    job_id = run_job(made, rack)
    told(made)
    rack.broken = "10.3.0.0"

    with pytest.raises(OSError, match=r"no frame at 10\.3"):
        made.machines = {"a": machine("a", net=2), "b": machine("b", net=3)}

    assert list(made.machines) == ["m"]
    assert list(made._job_queue._machines) == ["m"]
    assert told(made) == (set(), set())
    assert made.get_job_state(None, job_id).state is JobState.ready
    assert [(frame.hostname, frame.stops) for frame in rack.frames] == [
        (HOST, 0),
        ("10.2.0.0", 1),
    ]
    rack.broken = None
    made.machines = {"a": machine("a", net=2), "b": machine("b", net=3)}
    assert list(made.machines) == ["a", "b"]


def test_a_removed_machine_s_boards_go_off_before_its_frame_ends(
    made: Controller, rack: Rack
) -> None:
    run_job(made, rack)
    frame = rack[HOST]

    made.machines = {}

    assert frame.power[-1] == ([], [0])
    assert made._power_downs.orphans == {HOST: {0}}
    frame.answer()
    assert made._power_downs.orphans == {}


def test_stop_and_join_are_passed_on(made: Controller, rack: Rack) -> None:
    made.stop()
    made.join()

    assert (rack[HOST].stops, rack[HOST].joins) == (1, 1)
