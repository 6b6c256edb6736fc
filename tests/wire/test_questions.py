"""The newer questions: their form on the wire, and what they cost when many ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._wire import messages, questions
from spalloc_server._wire.questions import Questions, how_many
from spalloc_server.server import _COMMANDS, SpallocServer
from tests.support.fake_frame import Rack
from tests.support.tcp_client import TcpClient

CONFIG = """
m = Machine.with_standard_ips(
    "m", width=2, height=1, base_ip="10.1.0.0",
    board_locations={(x, 0, z): (0, 0, 3 * x + z) for x in range(2) for z in range(3)},
)
configuration = Configuration(machines=[m], ip="127.0.0.1", seconds_before_free=0)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SpallocServer]:
    Rack(monkeypatch).at_once = True
    config = tmp_path / "a.cfg"
    config.write_text(CONFIG)
    with SpallocServer(config, port=0, durability="none") as server:
        yield server


@pytest.fixture
def client(server: SpallocServer) -> Iterator[TcpClient]:
    with TcpClient(server.port) as client:
        yield client


def test_the_facility_lists_every_command(client: TcpClient) -> None:
    facility = client.call("get_facility")

    assert set(facility["commands"]) == set(_COMMANDS)
    assert facility["accepting"] is True
    assert facility["message"] is None
    assert facility["principal"] == "host:127.0.0.1"


def test_every_board_has_one_state(client: TcpClient) -> None:
    client.call("create_job", 1, 1, owner="me")

    told = client.call("list_boards", "m")

    assert [row[:5] for row in told["boards"]] == [
        [x, 0, z, "used" if x == 0 else "free", 1 if x == 0 else None]
        for x in range(2)
        for z in range(3)
    ]
    assert isinstance(told["event"], int)
    assert client.call("list_boards", "n") is None


def test_those_that_wait_are_told_why(client: TcpClient) -> None:
    client.call("create_job", 2, 1, owner="me")
    client.call("create_job", 1, 1, owner="you")

    (waiting,) = client.call("list_queue")["jobs"]

    assert waiting["job_id"] == 2
    assert [each["name"] for each in waiting["machines"]] == ["m"]
    assert client.call("get_job_outlook", 2) == waiting
    assert client.call("get_job_outlook", 1) is None
    assert client.call("get_job_outlook", 10**30) is None


def test_ended_jobs_come_newest_first_and_page_by_page(client: TcpClient) -> None:
    for _ in range(5):
        client.call("destroy_job", client.call("create_job", owner="me"), "enough")

    first = client.call("list_ended_jobs", 2)
    second = client.call("list_ended_jobs", 2, first[-1]["job_id"])

    assert [job["job_id"] for job in first + second] == [5, 4, 3, 2]
    assert {job["reason"] for job in first} == {"enough"}
    assert client.call("list_ended_jobs", 0) == []
    assert client.call("list_ended_jobs", 1000, None)[-1]["job_id"] == 1
    assert client.call("list_ended_jobs", limit=1000, before=99) == []


def test_a_board_is_found_by_its_address(client: TcpClient) -> None:
    places = {"10.1.0.9": [0, 0, 1], "10.1.0.25": [1, 0, 0], "10.1.0.0": [0, 0, 0]}
    for address, board in places.items():
        found = client.call("where_is", machine="m", address=address)
        assert found == client.call(
            "where_is", machine="m", **dict(zip("xyz", board, strict=True))
        )

    assert client.call("where_is", machine="m", address="10.9.9.9") is None
    assert client.call("where_is", machine="n", address="10.1.0.1") is None


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ([1, "10.1.0.1", "hot"], {}),
        ([1, [0, 0, 0], "hot"], {}),
        ([1, 0, 0, 0, "hot"], {}),
        ([1], {"address": "10.1.0.1", "text": "hot"}),
        ([], {"job_id": 1, "x": 0, "y": 0, "z": 0, "text": "hot"}),
    ],
)
def test_a_report_names_its_board_in_any_way(
    client: TcpClient, arguments: list[Any], keywords: dict[str, Any]
) -> None:
    client.call("create_job", 0, 0, 0, owner="me")
    stranger = client.call("report_problem", 99, "10.1.0.1", "hot")

    done = client.call("report_problem", *arguments, **keywords)

    assert stranger.startswith("nothing is noted: job 99")
    assert done
    assert not done.startswith("nothing is noted")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("report_problem", [], "job_id"),
        ("report_problem", ["1", "10.1.0.1", "hot"], "job_id must be a whole number, not '1'"),
        ("report_problem", [1, "hot"], "an address or x, y and z of a board, and a text"),
        ("report_problem", [1, 0, 0, "hot"], "an address or x, y and z of a board, and a text"),
        ("report_problem", [1, [0, 0, True], "hot"], "whole number, not True"),
        ("report_problem", [1, "10.1.0.1", "x" * 1025], "text"),
        ("report_problem", [1, "10.1.0.1", 5], "text must be text, not 5"),
        ("report_problem", [1, 7.5, "hot"], "must be an address or [x, y, z], not 7.5"),
        ("list_ended_jobs", [1001], "limit must be from 0 to 1000, not 1001"),
        ("list_ended_jobs", [-1], "limit must be from 0 to 1000, not -1"),
        ("list_ended_jobs", [2.0], "limit must be a whole number, not 2.0"),
        ("list_ended_jobs", [True], "limit must be a whole number, not True"),
        ("list_ended_jobs", [5, "3"], "before must be a whole number, not '3'"),
        ("list_ended_jobs", [], "limit"),
        ("list_boards", [3], "machine_name must be text, not 3"),
        ("list_boards", [None], "machine_name must be text, not None"),
        ("list_boards", ["x" * 1025], "machine_name"),
        ("get_job_outlook", ["1"], "job_id must be a whole number, not '1'"),
        ("get_job_outlook", [None], "job_id must be a whole number, not None"),
        ("list_queue", [1], "argument"),
        ("get_facility", [1], "argument"),
    ],
)
def test_bad_arguments_are_named(
    client: TcpClient, name: str, arguments: list[Any], words: str
) -> None:
    client.ask(name, *arguments)

    assert words in client.reply()["exception"]


def test_an_answer_is_made_into_json_once_as_long_as_it_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []

    def encoded(value: object) -> bytes:
        made.append(value)
        return messages.encoded(value)

    monkeypatch.setattr(questions, "encoded", encoded)
    asked, rows, told = Questions(), [(0, 0, 0, "free", None, None)], {"made": 1.0, "jobs": []}

    replies = [messages.returned(asked.boards("m", number, rows)) for number in (7, 7, 8)]
    for _ in range(3):
        assert json.loads(messages.returned(asked.queue(told))) == {"return": told}

    assert made == [rows, told]
    assert [json.loads(reply)["return"] for reply in replies] == [
        {"event": number, "boards": [[0, 0, 0, "free", None, None]]} for number in (7, 7, 8)
    ]
    asked.boards("m", 8, list(rows))
    assert len(made) == 3


def test_machines_that_are_gone_are_forgotten() -> None:
    asked = Questions()
    asked.boards("m", 1, [])
    asked.boards("n", 1, [])

    asked.forget_machines(["n", "o"])

    assert list(asked._boards) == ["n"]


def test_numbers_of_rows() -> None:
    assert [how_many("limit", number) for number in (0, 1000)] == [0, 1000]


@pytest.mark.parametrize(
    ("command", "args", "kwargs"),
    [
        ("list_ended_jobs", [10**4000], {}),
        ("list_events", [-(10**4000)], {}),
        ("list_events", [0, 10**4000], {}),
        ("where_is", [], {"k" * 500_000: 1}),
        ("version", [], {"k" * 500_000: 1}),
    ],
    ids=["ended", "after", "limit", "where_is", "version"],
)
def test_no_error_repeats_a_long_value_as_a_whole(
    client: TcpClient, command: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    client.ask(command, *args, **kwargs)

    assert 20 < len(client.reply()["exception"]) < 1500
