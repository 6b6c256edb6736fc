"""Calls that do not fit a command are refused in words that name the argument, and the others."""

from __future__ import annotations

from typing import Any

import pytest

from spalloc_server._wire.call_form import misfit
from spalloc_server.server import SpallocServer


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "words"),
    [
        (
            "get_job_state",
            (1, "x", "y"),
            {},
            "get_job_state was given 'x', one argument too many; its arguments are job_id",
        ),
        (
            "destroy_job",
            (1,),
            {"force": True},
            "destroy_job has no argument 'force'; its arguments are job_id, reason=null",
        ),
        (
            "get_board_position",
            ("m", 1),
            {"z": 2},
            "get_board_position was not given y; its arguments are machine_name, x, y, z",
        ),
        (
            "list_events",
            (),
            {},
            "list_events was not given after; its arguments are after, limit=1000",
        ),
        (
            "job_keepalive",
            (7,),
            {"job_id": 8},
            "job_keepalive was given job_id twice, as 7 and 8; its arguments are job_id",
        ),
        (
            "version",
            ([],),
            {},
            "version was given [], one argument too many; its arguments are none",
        ),
        ("version", (), {"self": 1}, "version has no argument 'self'; its arguments are none"),
        (
            "where_is",
            ("m",),
            {},
            "where_is was given 'm', one argument too many; its arguments are keywords",
        ),
        (
            "report_problem",
            (),
            {},
            "report_problem was not given job_id; its arguments are job_id, where, keywords",
        ),
    ],
)
def test_a_call_that_does_not_fit_names_the_argument_and_those_allowed(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    handler = getattr(SpallocServer, name)

    found = misfit(name, handler, args, kwargs)

    assert str(found) == words


def test_a_call_that_fits_is_no_misfit() -> None:
    assert misfit("destroy_job", SpallocServer.destroy_job, (1,), {"reason": "done"}) is None


def test_a_long_name_is_cut() -> None:
    found = misfit("version", SpallocServer.version, (), {"k" * 500_000: 1})

    assert len(str(found)) < 300
