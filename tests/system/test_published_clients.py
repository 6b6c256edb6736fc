"""The published clients do with this server what they did with the original.

What counts is what they print: the ids, boards, coordinates and host names that the server holds.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.published import RELEASES, PublishedClient
from tests.support.server_process import ServerProcess
from tests.support.tcp_client import TcpClient

DEMO = Path(__file__).parent.parent.parent / "examples" / "demo.cfg"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("server")
    # Boards that do not rest, so that each test finds them free.
    text = DEMO.read_text().replace("seconds_before_free=30", "seconds_before_free=0")
    (folder / "demo.cfg").write_text(text)
    with ServerProcess(folder, "demo.cfg") as server:
        yield server.port
        assert server.stop() == 0


@pytest.fixture
def server(port: int) -> Iterator[TcpClient]:
    """What the server itself says; all jobs are gone at the end."""
    with TcpClient(port) as client:
        yield client
        for job in client.call("list_jobs"):
            client.call("destroy_job", job["job_id"])


@pytest.fixture(params=sorted(RELEASES))
def client(request: pytest.FixtureRequest, port: int) -> PublishedClient:
    return PublishedClient(request.param, port)


@pytest.fixture
def job(server: TcpClient) -> dict[str, Any]:
    """A job of three boards that is ready, as the server lists it."""
    server.call("notify_job")
    job_id = server.call("create_job", 3, owner="somebody", keepalive=None)
    while server.call("get_job_state", job_id)["state"] != 3:
        server.notification()
    server.call("no_notify_job")
    (listed,) = server.call("list_jobs")
    assert isinstance(listed, dict)
    return {**listed, **server.call("get_job_machine_info", job_id)}


def fields(text: str) -> dict[str, str]:
    """Read what is printed as ``Name: value``."""
    found = re.findall(r"^ *([A-Z][a-zA-Z- ]*): +(.*?) *$", text, re.MULTILINE)
    return dict(found)


def test_the_job_class(client: PublishedClient, server: TcpClient) -> None:
    with client.job(3, owner="me") as program:
        assert program.stdin is not None
        assert program.stdout is not None
        told = json.loads(program.stdout.readline())
        (held,) = server.call("list_jobs")
        info = server.call("get_job_machine_info", told["id"])
        where = server.call("where_is", job_id=told["id"], chip_x=0, chip_y=0)

        assert told == {
            "id": held["job_id"],
            "state": 3,
            "power": True,
            "reason": None,
            "hostname": {tuple(chip): host for chip, host in info["connections"]}[0, 0],
            "width": info["width"],
            "height": info["height"],
            "machine": "frame",
            "boards": sorted(held["boards"]),
            "connections": sorted(info["connections"]),
            "there": where["physical"],
        }
        assert (held["owner"], held["args"]) == ("me", [3])
        assert held["keepalivehost"] == "127.0.0.1"

        program.stdin.write("\n")
        program.stdin.flush()
        assert json.loads(program.stdout.readline()) is False
        assert server.call("list_jobs")[0]["power"] is False

        program.stdin.write("\n")
        program.stdin.flush()
        assert program.wait(30) == 0
    assert server.call("get_job_state", told["id"])["state"] == 4


@pytest.mark.parametrize(
    ("what", "keywords", "boards"),
    [
        ((), {"machine": "solo"}, [[0, 0, 0]]),
        ((), {"tags": ["desk"]}, [[0, 0, 0]]),
        ((1, 1, 2), {}, [[1, 1, 2]]),
    ],
)
def test_the_job_class_s_other_ways_of_asking(
    client: PublishedClient,
    server: TcpClient,
    what: tuple[int, ...],
    keywords: dict[str, Any],
    boards: list[list[int]],
) -> None:
    with client.job(*what, owner="me", **keywords) as program:
        assert program.stdout is not None
        told = json.loads(program.stdout.readline())
        (held,) = server.call("list_jobs")
        program.communicate("\n\n", timeout=30)

    assert told["boards"] == held["boards"] == boards
    assert held["args"] == list(what)
    assert {name: held["kwargs"].get(name) for name in keywords} == keywords


def test_spalloc(client: PublishedClient, server: TcpClient, tmp_path: Path) -> None:
    with client.start("spalloc", "--owner", "me", "3", cwd=tmp_path) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        text = ""
        while "Running on" not in text:
            line = program.stdout.readline()
            assert line, text
            text += line
        (held,) = server.call("list_jobs")
        info = server.call("get_job_machine_info", held["job_id"])
        told = fields(text)
        addresses = Path(told["All hostnames"])
        rows = list(csv.DictReader(addresses.read_text().splitlines()))
        program.stdin.write("\n")
        program.stdin.close()
        assert program.wait(30) == 0

    hosts = {tuple(chip): host for chip, host in info["connections"]}
    assert told["Hostname"] == hosts[0, 0]
    assert (told["Width"], told["Height"]) == (str(info["width"]), str(info["height"]))
    assert told["Num boards"] == str(len(held["boards"]))
    assert told["Running on"] == "frame"
    assert {(int(row["x"]), int(row["y"])): row["hostname"] for row in rows} == hosts
    assert server.call("get_job_state", held["job_id"])["state"] == 4


def test_spalloc_ps(client: PublishedClient, job: dict[str, Any]) -> None:
    header, line = client.run("spalloc-ps").strip().splitlines()

    assert header.split()[:5] == ["ID", "State", "Power", "Boards", "Machine"]
    words = line.split()
    assert words[:5] == [str(job["job_id"]), "ready", "on", "3", "frame"]
    assert "somebody" in words


def test_spalloc_machine(client: PublishedClient, job: dict[str, Any]) -> None:
    rows = [line.split()[:4] for line in client.run("spalloc-machine").strip().splitlines()[1:]]
    assert rows == [["frame", "23", "3", "1"], ["solo", "1", "0", "0"]]

    told = client.run("spalloc-machine", "frame", "--detailed")
    assert fields(told)["In-use"] == "3 of 23"
    assert fields(told)["Tags"] == "default, frame"
    assert re.search(rf"^A +{job['job_id']} +3 +somebody", told, re.MULTILINE)
    # The picture has an A for each board of the job, and an outline for each live board.
    picture = told.partition("\n\n")[2].partition("Key")[0]
    assert picture.count(" A ") == 3
    assert picture.count(" . ") == 20


def test_spalloc_job(client: PublishedClient, server: TcpClient, job: dict[str, Any]) -> None:
    job_id = str(job["job_id"])
    hosts = {tuple(chip): host for chip, host in job["connections"]}
    told = fields(client.run("spalloc-job", job_id))
    assert told["Job ID"] == job_id
    assert (told["Owner"], told["State"], told["Board power"]) == ("somebody", "ready", "on")
    assert (told["Hostname"], told["Running on"]) == (hosts[0, 0], "frame")
    assert (told["Width"], told["Height"]) == (str(job["width"]), str(job["height"]))
    assert told["Num boards"] == "3"

    rows = csv.DictReader(client.run("spalloc-job", job_id, "--ethernet-ips").splitlines())
    assert {(int(row["x"]), int(row["y"])): row["hostname"] for row in rows} == hosts

    client.run("spalloc-job", job_id, "--power-off")
    assert server.call("get_job_state", job["job_id"])["power"] is False
    client.run("spalloc-job", job_id, "--power-on")
    assert server.call("get_job_state", job["job_id"])["power"] is True
    client.run("spalloc-job", job_id, "--destroy", "no more", "--owner", "me")
    state = server.call("get_job_state", job["job_id"])
    assert state["state"] == 4
    assert "no more" in state["reason"]
    assert fields(client.run("spalloc-job", job_id))["State"] == "destroyed"


def test_spalloc_where_is(
    client: PublishedClient, server: TcpClient, job: dict[str, Any]
) -> None:
    job_id = str(job["job_id"])
    where = server.call("where_is", job_id=job["job_id"], chip_x=9, chip_y=5)
    x, y, z = where["logical"]
    cabinet, frame, board = where["physical"]
    chip_x, chip_y = where["chip"]
    expected = {
        "Machine": "frame",
        "Physical location": f"Cabinet {cabinet}, Frame {frame}, Board {board}",
        "Board coordinate": f"({x}, {y}, {z})",
        "Machine chip coordinates": f"({chip_x}, {chip_y})",
        "Coordinates within board": "(1, 1)",
        "Job using board": job_id,
        "Coordinates within job": "(9, 5)",
    }
    assert fields(client.run("spalloc-where-is", "--job-chip", job_id, "9", "5")) == expected

    if client.release == "7.4.1":
        return  # asks its own protocol class for keywords that it does not have
    at = ["--chip", "frame", str(chip_x), str(chip_y)]
    assert fields(client.run("spalloc-where-is", *at)) == expected
    del expected["Coordinates within board"]
    corner = server.call("where_is", machine="frame", x=x, y=y, z=z)
    expected["Machine chip coordinates"] = "({}, {})".format(*corner["chip"])
    expected["Coordinates within job"] = "({}, {})".format(*corner["job_chip"])
    for at in (
        ["--board", "frame", str(x), str(y), str(z)],
        ["--physical", "frame", str(cabinet), str(frame), str(board)],
    ):
        assert fields(client.run("spalloc-where-is", *at)) == expected
