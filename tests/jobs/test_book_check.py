"""Books that have the wrong form are refused with the path of the wrong part."""

from typing import Any

import pytest

from spalloc_server._jobs import book as _book
from spalloc_server._jobs.book_check import BadPartError, check_book
from spalloc_server.controller import Controller
from tests.support.fake_frame import Rack
from tests.support.machines import machine


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A controller's book with a ready job and one that has ended."""
    rack = Rack(monkeypatch)
    made = Controller()
    made.machines = {"m": machine("m", 2, 1)}
    made.create_job("10.0.0.1", 1, 1, owner="me")
    made.create_job("10.0.0.1", owner="me")
    rack.answer_all()
    made.destroy_job(None, 2)
    made.upkeep.hold_boards("m", [(0, 0, 0)], "fan")
    return made.__getstate__()


def test_what_a_controller_tells_is_whole(book: dict[str, Any]) -> None:
    check_book(book)
    check_book(_book.empty())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("next_id",), 0, "next_id: 0 is not a whole number from 1 to "),
        (("next_id",), True, "next_id: True is not a whole number"),
        (("next_id",), 2**63 + 1, "next_id: 9223372036854775809 is not a whole number"),
        (("max_retired_jobs",), -(2**63) - 1, "max_retired_jobs: -9223372036854775809 is not "),
        (("machines", "m", "dead_boards"), [[0, 0, 2**64]], "machines.m.dead_boards.0.2: "),
        (("jobs", 1, "start_time"), 1e12, "jobs.1.start_time: 1000000000000.0 is not "),
        (("seconds_before_free",), -1, "seconds_before_free: -1 is not a number of seconds"),
        (("patience",), float("nan"), "patience: nan is not a number of seconds"),
        (("machines",), [], "machines: [] is not an object"),
        (("machines", "m", "width"), 2.5, "machines.m.width: 2.5 is not a whole number"),
        (
            ("machines", "m", "board_locations", 0, 1),
            [0, 0],
            "board_locations.0.1: [0, 0] is not ",
        ),
        (("machines", "m", "bmp_ips"), [], "machines.m: no BMP for board [0, 0, 0] at [0, 0, 0]"),
        (("machines", "m", "name"), "n", "machines.m: the machine is called 'n'"),
        (("jobs", 1, "owner"), None, "jobs.1.owner: None is not text"),
        (("jobs", 1, "was_ready"), 1, "jobs.1.was_ready: 1 is not true or false"),
        (("jobs", 1, "args"), {}, "jobs.1.args: {} is not a list"),
        (("jobs", 1, "allocation", "outcome"), ["board", 1], "jobs.1.allocation.outcome: "),
        (("jobs", 1, "allocation", "outcome"), [], "jobs.1.allocation.outcome: [] is not a footp"),
        (("jobs", 1, "allocation", "machine"), "n", "jobs.1.allocation: no machine 'n'"),
        (("jobs", 1, "allocation", "boards"), [[9, 9, 0]], "machine 'm' has no board [9, 9, 0]"),
        (("jobs", 1, "allocation", "periphery"), [[1, 0, 0, 2]], "a link of board [1, 0, 0]"),
        (("ended", 2), ["me"], "ended.2: ['me'] is not a list of 12"),
        (("ended", 2, 7), [0, 0, 1, 1, 1], "ended.2.7: [0, 0, 1, 1, 1] is not a place"),
        (("quarantine", "m", "cases", 0), {}, "quarantine.m.cases.0.board: missing"),
        (("machines", "m", "width"), 2**31 + 1, "width: 2147483649 is not a whole number"),
        (("machines", "m", "width"), -1, "width: -1 is not a whole number from 0 to 2147483648"),
        (("machines", "m", "dead_links"), [[0, 0, 0, 6]], "3: 6 is not a whole number from 0 to"),
        (("machines", "m", "dead_links"), [[0, 0, 0, -1]], "dead_links.0.3: -1 is not a whole"),
        (("machines", "m", "dead_links"), [[0, 0, 0]], "links.0: [0, 0, 0] is not a list of 4"),
        (("machines", "m", "dead_boards"), [[0, 0]], "dead_boards.0: [0, 0] is not a list of 3"),
        (("jobs", 1, "state"), 0, "jobs.1.state: 0 is not a whole number from 1 to 3"),
        (("jobs", 1, "state"), 4, "jobs.1.state: 4 is not a whole number from 1 to 3"),
        (("jobs", 1, "args"), [-1], "jobs.1.args.0: -1 is not a whole number from 0 to "),
        (("jobs", 1, "allocation", "torus"), 4, "torus: 4 is not a whole number from 0 to 3"),
        (("jobs", 1, "allocation", "id"), -1, "jobs.1.allocation.id: -1 is not a whole number"),
        (("jobs", 1, "start_time"), 1e11, "jobs.1.start_time: 100000000000.0 is not a number"),
        (("jobs", 1, "start_time"), -1e11, "jobs.1.start_time: -100000000000.0 is not a number"),
        (("jobs", 1, "keepalive"), "60", "jobs.1.keepalive: '60' is not a number of seconds"),
        (("jobs", 1, "allocation", "outcome"), ["board", 1, 1, 1, 1], "is not a footprint"),
        (("jobs", 1, "allocation", "outcome"), ["triads", 1, 1, 1], "is not a footprint"),
        (("jobs", 1, "allocation", "outcome"), ["triads", 1, 1, 1, -1], "outcome.3: -1 is not a"),
        (("ended", 2, 7), [0, 0], "ended.2.7: [0, 0] is not a place"),
        (("ended", 2, 7), [0, 0, -1], "ended.2.7.2: -1 is not a whole number"),
        (("orphans",), {"10.1.0.0": [-1]}, "orphans.10.1.0.0.0: -1 is not a whole number"),
        (("message",), ["fire drill"], "message: ['fire drill'] is not a list of 2"),
    ],
)
def test_a_part_of_the_wrong_form_is_named(
    book: dict[str, Any], path: tuple[Any, ...], value: Any, said: str
) -> None:
    container: Any = book
    for key in path[:-1]:
        container = container[key]
    container[path[-1]] = value

    with pytest.raises(BadPartError) as caught:
        check_book(book)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("next_id",), 2**63),
        (("max_retired_jobs",), -(2**63)),
        (("machines", "m", "dead_boards"), [[-(2**63), 0, 2**63]]),
        (("jobs", 1, "start_time"), 9e10),
        (("message",), ["fire drill", False]),
        (("machines", "m", "height"), 2**31),
        (("machines", "m", "height"), 0),
        (("machines", "m", "dead_links"), [[-(2**63), 0, 2**63, 5], [0, 0, 0, 0]]),
        (("jobs", 1, "start_time"), -9e10),
        (("jobs", 1, "start_time"), 0),
        (("jobs", 1, "keepalive"), 0),
        (("jobs", 1, "args"), [0, 2**63]),
        (("jobs", 1, "state"), 1),
        (("jobs", 1, "state"), 3),
        (("jobs", 1, "allocation", "torus"), 0),
        (("jobs", 1, "allocation", "torus"), 3),
        (("jobs", 1, "allocation", "outcome"), ["board", 0, 0, 2**31]),
        (("jobs", 1, "allocation", "outcome"), ("boards", 1, 2, 3, 4)),
        (("ended", 2, 7), [0, 0, 2]),
        (("ended", 2, 7), (0, 0, 1, 1)),
        (("going",), {"m": {-(2**63): {"job": 0, "outcome": ["board", 0, 0, 0], "boards": []}}}),
    ],
)
def test_values_at_the_edge_are_whole(
    book: dict[str, Any], path: tuple[Any, ...], value: Any
) -> None:
    container: Any = book
    for key in path[:-1]:
        container = container[key]
    container[path[-1]] = value

    check_book(book)


def test_a_book_that_is_none_is_refused() -> None:
    with pytest.raises(BadPartError, match="the book: None is not an object"):
        check_book(None)
