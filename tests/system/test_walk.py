"""Walks through the source: how many modules a command passes through, and which calls climb."""

from pathlib import Path

from tests.support.walk import (
    COMMAND_THREADS,
    MOST_MODULES,
    Walk,
    named_climbs,
    room_of,
    walk_of_a_life,
    walk_of_create_job,
)

#: Climbs that no walk below sees: programs start no server here, and no disk fails.
UNSEEN = {("_programs", "_wire"), ("_saved", "_wire")}


def test_calls_that_climb_are_those_that_the_manual_names(tmp_path: Path) -> None:
    create, life = walk_of_create_job(tmp_path / "create"), walk_of_a_life(tmp_path / "life")

    climbs = {climb.rooms for climb in create.climbs | life.climbs}
    assert climbs == named_climbs() - UNSEEN
    # One of them is for simulations only.
    assert len(named_climbs()) <= 7 + 1
    # Fewer would tell that the walk has lost its way.
    assert 20 < len(create.modules) <= MOST_MODULES
    assert {"spalloc_server.controller", "spalloc_server._bmp.transceiver"} <= create.modules


def test_a_call_that_climbs_is_found() -> None:
    source = "def call(callback):\n    return callback()\n"
    lower = {"__name__": "spalloc_server._saved.lower"}
    higher = {"__name__": "spalloc_server._wire.higher"}
    exec(source, lower)
    exec("def called():\n    return 1\n", higher)
    walk = Walk(("MainThread",))

    with walk.watching(), walk.recording():
        lower["call"](higher["called"])  # type: ignore[operator]

    (climb,) = walk.climbs
    assert climb == ("_saved.lower.call", "_wire.higher.called")
    assert climb.rooms == ("_saved", "_wire")
    assert walk.modules == {lower["__name__"], higher["__name__"]}


def test_calls_that_go_down_do_not_climb() -> None:
    lower = {"__name__": "spalloc_server._saved.lower"}
    higher = {"__name__": "spalloc_server._wire.higher"}
    exec("def called():\n    return 1\n", lower)
    exec("def call(callback):\n    return callback()\n", higher)
    walk = Walk(("MainThread",))

    with walk.watching(), walk.recording():
        higher["call"](lower["called"])  # type: ignore[operator]

    assert walk.climbs == set()


def test_other_threads_are_not_watched() -> None:
    assert not "MainThread".startswith(COMMAND_THREADS)


def test_public_modules_are_in_the_rooms_that_they_are_the_doors_of() -> None:
    assert room_of("spalloc_server.controller.Controller") == room_of("_jobs.job_life") == "_jobs"
    assert room_of("links") == "links"
