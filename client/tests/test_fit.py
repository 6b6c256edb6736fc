from typing import Any

import pytest
from spalloc_client._answers import JobRow, MachineRow
from spalloc_client._fit import why_not
from spalloc_client._queue import describe_misfits, describe_queue
from spalloc_client._request import Request, request_of
from spalloc_client._shapes import anchors, sizes_for
from spalloc_client.states import JobState


def machine(width: int = 4, height: int = 3, **kwargs: Any) -> MachineRow:
    given = {
        "name": "demo",
        "tags": frozenset(["default"]),
        "dead_boards": frozenset(),
        "dead_links": frozenset(),
        **kwargs,
    }
    return MachineRow(width=width, height=height, **given)


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request((1,)),
        Request((36,)),
        Request((4, 3)),
        Request((3, 2, 2)),
        Request((4, 3), require_torus=True),
        Request((36,), max_dead_boards=0, max_dead_links=0),
        Request((2,), min_ratio=1.0),
        Request((), machine="demo", tags=frozenset(["no such"])),
    ],
)
def test_what_fits_has_no_reason_not_to(request_: Request) -> None:
    assert why_not(machine(), request_) is None


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(machine="x"), "--machine x: it is another one"),
        (Request(tags=frozenset("ab")), "--tags: lacks a, b"),
        (Request((37,)), "is too small for 37 boards: it is of 4 x 3 triads, 36 boards"),
        (Request((5, 1)), "is too small for 5 x 1 triads: it is of 4 x 3 triads"),
        (Request((4, 0, 0)), "is of 4 x 3 triads and has no board (4, 0, 0)"),
        (Request((0, 0, 3)), "is of 4 x 3 triads and has no board (0, 0, 3)"),
        (
            Request((33,), min_ratio=0.9),
            "--min-ratio 0.9: 33 boards would need a longer block on its 4 x 3 triads",
        ),
        (
            Request((3, 3), require_torus=True),
            "--require-torus: only its whole 4 x 3 triads wrap around, not 3 x 3",
        ),
    ],
)
def test_the_limit_that_excludes_a_machine_is_named(request_: Request, reason: str) -> None:
    assert why_not(machine(), request_) == reason


@pytest.mark.parametrize(
    ("size", "boards", "min_ratio", "shape"),
    [
        ((4, 3), 12, 0.333, (2, 2)),
        ((4, 3), 18, 0.333, (2, 3)),  # stands in a machine that lies
        ((3, 4), 18, 0.333, (3, 2)),
        ((3, 3), 15, 0.8, (3, 2)),  # a little longer than was asked for
        ((2, 6), 27, 0.333, (2, 5)),  # squashed
        ((6, 2), 27, 0.333, (5, 2)),
        ((2, 6), 27, 0.5, None),
        ((2, 2), 15, 0.0, None),
    ],
)
def test_blocks_have_the_shape_that_the_server_gives_them(
    size: tuple[int, int], boards: int, min_ratio: float, shape: tuple[int, int] | None
) -> None:
    assert sizes_for(boards, *size, min_ratio, None) == [shape] * (shape is not None)
    assert sizes_for(boards, *size, min_ratio, "fcfs") == [shape] * (shape is not None)


@pytest.mark.parametrize(
    ("size", "boards", "min_ratio", "shapes"),
    [
        ((4, 3), 12, 0.333, [(2, 2)]),
        ((4, 3), 12, 0.0, [(2, 2), (4, 1)]),
        ((4, 2), 21, 0.333, [(4, 2)]),
        ((5, 5), 21, 0.0, [(4, 2), (2, 4), (3, 3)]),
        ((5, 5), 21, 0.6, [(3, 3)]),
        ((2, 6), 27, 0.5, []),
        ((3, 3), 6, 0.9, [(2, 2), (3, 3)]),  # two triads are too long
        ((2, 2), 15, 0.0, []),
    ],
)
def test_other_servers_try_every_shape_that_is_not_too_large(
    size: tuple[int, int], boards: int, min_ratio: float, shapes: list[tuple[int, int]]
) -> None:
    for scheduling in ("overtaking", "fcfs-grid"):
        found = sizes_for(boards, *size, min_ratio, scheduling)
        assert sorted(found) == sorted(shapes)
        areas = [width * height for width, height in found]
        assert areas == sorted(areas)


def test_blocks_are_tried_at_corners_or_everywhere() -> None:
    assert list(anchors((2, 2), 4, 3, None)) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert len(list(anchors((2, 2), 4, 3, "overtaking"))) == 6
    assert list(anchors((4, 3), 4, 3, "fcfs")) == [(0, 0)]


def test_a_block_in_the_middle_will_do_for_servers_that_try_it() -> None:
    corners = {(x, y, z) for x in (0, 3) for y in (0, 3) for z in range(3)}
    broken = machine(4, 4, dead_boards=frozenset(corners))
    request = Request((2, 2), max_dead_boards=0)

    assert why_not(broken, request) == (
        "--max-dead-boards 0: at least 3 of 12 boards are dead or cut off"
    )
    assert why_not(broken, request, "overtaking") is None
    # As a number of boards, a longer block will do, too.
    assert why_not(broken, Request((6,), max_dead_boards=0), "fcfs-grid") is None


@pytest.mark.parametrize("scheduling", [None, "overtaking"])
def test_the_numbers_that_make_the_whole_machine_are_told(scheduling: str | None) -> None:
    frame = machine(4, 2)

    for boards in (21, 19, 2):
        assert why_not(frame, Request((boards,), require_torus=True), scheduling) == (
            "--require-torus: only its whole 4 x 2 triads wrap around; 22 to 24 boards make it, "
            f"not {boards}"
        )
    for boards in (22, 23, 24):
        assert why_not(frame, Request((boards,), require_torus=True), scheduling) is None


@pytest.mark.parametrize(
    "named",
    [{(0, 0, 0, 2)}, {(0, 0, 2, 5)}, {(0, 0, 0, 2), (0, 0, 2, 5)}],
)
def test_a_cable_counts_once_whichever_end_is_named(named: set[tuple[int, int, int, int]]) -> None:
    broken = machine(1, 1, dead_links=frozenset(named))

    assert why_not(broken, Request((1, 1), max_dead_links=1)) is None
    assert why_not(broken, Request((1, 1), max_dead_links=0)) == (
        "--max-dead-links 0: at least 1 link is dead"
    )


def test_an_explanation_is_given_before_everything_has_been_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spalloc_client._fit._MOST_FLOODED", 10)
    links = frozenset((x, y, 0, 2) for x in range(4) for y in range(3))

    assert why_not(machine(dead_links=links), Request((2, 2), max_dead_links=1), "overtaking") == (
        "--max-dead-links 1: at least 4 links are dead"
    )


def test_dead_boards_exclude_a_machine() -> None:
    broken = machine(dead_boards=frozenset({(0, 0, 1), (3, 2, 1)}))

    assert why_not(broken, Request((0, 0, 1))) == "its board (0, 0, 1) is dead"
    assert why_not(broken, Request((35,), max_dead_boards=0)) == (
        "--max-dead-boards 0: at least 1 of 35 boards are dead or cut off"
    )
    # Boards gained by rounding up make up for dead ones.
    assert why_not(broken, Request((34,), max_dead_boards=0)) is None
    assert why_not(broken, Request((4, 3), max_dead_boards=1)) == (
        "--max-dead-boards 1: at least 2 of 36 boards are dead or cut off"
    )
    assert why_not(broken, Request((4, 3), max_dead_boards=2)) is None
    # A block at another corner does.
    assert why_not(broken, Request((2, 2), max_dead_boards=0)) is None


def test_boards_that_are_cut_off_count_as_dead() -> None:
    links = frozenset((1, 0, 0, link) for link in range(6))
    broken = machine(2, 1, dead_links=links)

    assert why_not(broken, Request((2, 1), max_dead_boards=0)) == (
        "--max-dead-boards 0: at least 1 of 6 boards are dead or cut off"
    )


def test_without_a_limit_the_bottom_left_board_must_live() -> None:
    broken = machine(dead_boards=frozenset({(0, 0, 0)}))

    assert why_not(broken, Request((4, 3))) == (
        "the bottom-left board of every 4 x 3 block is dead"
    )
    everything = frozenset((x, y, z) for x in range(4) for y in range(3) for z in range(3))
    assert why_not(machine(dead_boards=everything), Request()) == "all of its boards are dead"


def test_dead_links_exclude_a_machine() -> None:
    broken = machine(2, 1, dead_links=frozenset({(0, 0, 0, 2), (0, 0, 2, 5), (0, 0, 2, 2)}))

    assert why_not(broken, Request((2, 1), max_dead_links=0)) == (
        "--max-dead-links 0: at least 1 link is dead"
    )
    assert why_not(broken, Request((2, 1), max_dead_links=1)) is None
    # Links that wrap around count with --require-torus only.
    assert why_not(broken, Request((2, 1), max_dead_links=1, require_torus=True)) == (
        "--max-dead-links 1: at least 2 links are dead"
    )


def test_a_torus_needs_links_that_wrap() -> None:
    boards = [(0, 0, 0), (0, 0, 1), (0, 0, 2)]
    inside = {(0, 0, 0, 2), (0, 0, 0, 1), (0, 0, 1, 3)}  # within the triad, one end of each
    inside |= {(0, 0, 2, 5), (0, 0, 1, 4), (0, 0, 2, 0)}
    wraps = frozenset((*b, link) for b in boards for link in range(6)) - inside

    assert why_not(machine(1, 1, dead_links=wraps), Request((1, 1), require_torus=True)) == (
        "--require-torus: its wrap-around links are dead"
    )


def test_a_request_is_read_from_the_servers_rows() -> None:
    kwargs = {"tags": ["a"], "min_ratio": None, "max_dead_boards": 2, "owner": "x", "new": 1}

    assert request_of([2, 3], kwargs) == Request(
        (2, 3), tags=frozenset(["a"]), max_dead_boards=2
    )
    assert [request_of(args, {}).boards for args in ((), (7,), (2, 3), (0, 0, 0))] == [1, 7, 18, 1]


def job(job_id: int, *args: int, **kwargs: Any) -> JobRow:
    return JobRow(
        job_id, "me", 0.0, 60.0, JobState.queued, None, args, kwargs, None, None, None
    )


def test_jobs_ahead_are_counted_on_machines_that_fit() -> None:
    machines = [
        machine(name="one"),
        machine(name="two"),
        machine(name="desk", tags=frozenset(["desk"])),
    ]
    jobs = [job(1, 2), job(2, 2, machine="one"), job(3, 1000), job(4, 4), job(5, 2)]

    assert describe_queue(jobs[3], machines, jobs) == "1 job ahead on two; 2 jobs ahead on one"
    assert describe_queue(jobs[0], machines, jobs) == "next on one, two"
    assert describe_queue(jobs[2], machines, jobs) == "waiting for boards"


def test_misfits_are_told_a_line_each() -> None:
    machines = [machine(name="demo"), machine(1, 1, name="desk", tags=frozenset(["desk"]))]

    assert describe_misfits(Request((37,)), machines) == [
        "demo  is too small for 37 boards: it is of 4 x 3 triads, 36 boards",
        "desk  --tags: lacks default",
    ]
    assert describe_misfits(Request(), machines[:1]) == [
        "demo  would do as far as can be seen from here"
    ]
    assert describe_misfits(Request(), []) == ["the server has no machines"]
