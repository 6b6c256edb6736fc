"""What is promised when things go wrong, where no other module tests it as a whole.

The table of all promises and their tests is ``docs/promises.rst``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from spalloc_server.server import SpallocServer
from tests.support.lasting_hardware import Facility, facility, wait_until
from tests.support.simulated_server import Client

__all__ = ("facility",)

_TESTS = Path(__file__).parent.parent
_TABLE = _TESTS.parent / "docs" / "promises.rst"


# --- the table ---


def test_every_test_of_the_table_is_there() -> None:
    rows = _TABLE.read_text().split("   * - ")[2:]
    assert len(rows) == 29
    for row in rows:
        named = re.findall(r"``([\w/]+\.py)::(\w+)``", row)
        assert named, row
        for module, name in named:
            assert f"\ndef {name}(" in (_TESTS / module).read_text(), f"{module}::{name}"


# --- rows of it ---


def job_ids(server: SpallocServer) -> list[int]:
    return [row["job_id"] for row in server.list_jobs(None)]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([], {"machine": "f", "tags": ["default"]}),
        ([1.5], {}),
        ([True], {}),
        ([-1], {}),
        ([1, 2, 3, 4], {}),
        ([{"x": 1}], {}),
        ([], {"tags": "default"}),
        ([], {"keepalive": "soon"}),
        ([], {"keepalive": -1}),
        ([], {"min_ratio": float("nan")}),
        ([], {"min_ratio": []}),
        ([], {"require_torus": 1}),
        ([1], {"require_torus": True}),
        ([], {"max_dead_boards": 0.5}),
        ([], {"owner": None}),
        ([], {"nonsense": 1}),
        ([], {"machine": "x" * 5000}),
    ],
)
def test_a_refused_create_job_leaves_nothing(
    facility: Facility, args: list[Any], kwargs: dict[str, Any]
) -> None:
    with facility.server() as server, Client(server.port) as client:
        kwargs = {"owner": "me", "keepalive": 0.0, **kwargs}
        client.send_line(json.dumps({"command": "create_job", "args": args, "kwargs": kwargs}))

        assert "exception" in client.answer()

        assert client.call("list_jobs") == []
        kept = client.call("create_job", owner="me", keepalive=None)
        ends = client.call("create_job", owner="me", keepalive=0.0)
        wait_until(lambda: client.call("list_jobs")[0]["job_id"] == kept)
        wait_until(lambda: len(client.call("list_jobs")) == 1)
        assert ends == kept + 1
    assert [*facility.book()["jobs"], *facility.book()["retired"]] == [kept, ends]


def test_a_board_marked_dead_while_in_use_is_not_given_out(facility: Facility) -> None:
    with facility.server() as server, Client(server.port) as client:
        first = client.call("create_job", 2, 1, owner="me", keepalive=None)
        client.wait_until(first, 3)
        text = facility.config.read_text()
        facility.config.write_text(text.replace("width=2,", "dead_boards={(0, 0, 1)}, width=2,"))

        assert server.read_config_file()

        assert len(client.call("get_job_machine_info", first)["boards"]) == 6
        client.call("destroy_job", first)
        others = [client.call("create_job", 1, owner="me", keepalive=None) for _ in range(6)]
        for job_id in others[:5]:
            client.wait_until(job_id, 3)
        given = [client.call("get_job_machine_info", job_id)["boards"] for job_id in others]
        assert sorted(boards[0] for boards in given[:5]) == [
            [0, 0, 0], [0, 0, 2], [1, 0, 0], [1, 0, 1], [1, 0, 2],
        ]  # fmt: skip
        assert given[5] is None
        wait_until(lambda: facility.on() == {0, 2, 3, 4, 5})


def test_a_reload_cancels_only_what_became_impossible(facility: Facility) -> None:
    facility.configure("f", "g")
    with facility.server() as server, Client(server.port) as client:
        whole = client.call("create_job", 2, 1, owner="me", machine="f", keepalive=None)
        client.call("create_job", 2, 1, owner="me", machine="g", keepalive=None)
        before = client.call("create_job", 4, owner="me", machine="f", keepalive=None)
        doomed = client.call("create_job", owner="me", machine="g", keepalive=None)
        after = [
            client.call("create_job", 1, owner="me", machine="f", keepalive=None)
            for _ in range(2)
        ]
        facility.configure("f")

        assert server.read_config_file()

        state = client.call("get_job_state", doomed)
        assert state["state"] == 4
        assert state["reason"].startswith("Cancelled: ")
        assert job_ids(server) == [whole, before, *after]
        client.call("destroy_job", whole)
        client.wait_until(before, 3)
        # They wait behind the one that came first, which has all of the machine.
        assert [client.call("get_job_state", job_id)["state"] for job_id in after] == [1, 1]
        client.call("destroy_job", before)
        for job_id in after:
            client.wait_until(job_id, 3)


def test_a_reload_with_a_frame_out_of_reach_is_done(facility: Facility) -> None:
    with facility.server(stop_timeout=0.0) as server, Client(server.port) as client:
        facility.simulation.inject("g mute")
        facility.configure("f", "g")
        assert server.read_config_file()
        facility.configure("g", "f")
        assert server.read_config_file()
        assert [machine["name"] for machine in client.call("list_machines")] == ["g", "f"]
        healthy = client.call("create_job", 2, 1, owner="me", machine="f", keepalive=None)
        client.wait_until(healthy, 3)

        facility.simulation.inject("g clear")

        job_id = client.call("create_job", 2, 1, owner="me", machine="g", keepalive=None)
        client.wait_until(job_id, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-10],
        lambda data: data[:30],
        lambda data: data[:-10] + bytes(10),
        lambda data: data.replace(b"generation", b"generatiom"),
        lambda data: b"jobs = []\n",
        lambda data: b"\x80\x04cos\nsystem\n(S'touch sprung'\ntR.",
        lambda data: bytes(len(data)),
    ],
)
def test_a_state_that_cannot_be_used_is_kept_aside(
    facility: Facility, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server() as server:
        server.create_job(None, 3, owner="me", keepalive=None)
        wait_until(lambda: len(facility.on()) == 3)
    (state,) = facility.config.parent.glob(".test.cfg.state.*")
    damaged = damage(state.read_bytes())
    state.write_bytes(damaged)

    with facility.server() as again:
        assert again.list_jobs(None) == []
        wait_until(lambda: facility.on() == set())

    assert f"{state} " in caplog.text
    assert "kept aside" in caplog.text
    assert state.with_name(f"{state.name}.unreadable.1").read_bytes() == damaged
    assert facility.book()["jobs"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "raise SystemExit(3)", "configuration = (", "1 / 0", "", "configuration = 7",
        "configuration = Configuration(machines=[Machine.single_board('x')])",
        "raise KeyboardInterrupt", "import no_such_module", None,
    ],
)  # fmt: skip
def test_a_broken_configuration_keeps_the_old_one(facility: Facility, text: str | None) -> None:
    with facility.server() as server, Client(server.port) as client:
        job_id = client.call("create_job", owner="me", keepalive=None)
        if text is None:
            facility.config.unlink()
        else:
            facility.config.write_text(text)

        server._sighup_handler(1, None)
        wait_until(lambda: server.reloads == 1)

        assert server.failed_reloads == 1
        assert [machine["name"] for machine in client.call("list_machines")] == ["f"]
        client.wait_until(job_id, 3)
