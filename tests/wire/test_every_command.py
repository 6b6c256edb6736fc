"""Every command with every limit, and rubbish: an answer or a disconnection, never anything else.

Commands come from the table of the server, so that new ones are tried without being listed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server.server import _COMMANDS, SpallocServer
from tests.support.fake_frame import Rack
from tests.support.tcp_client import TcpClient

CONFIG = """
m = Machine.with_standard_ips(
    "m", width=2, height=2, base_ip="10.1.0.0", tags={"default", "t"},
    board_locations={(x, y, z): (0, x, 3 * y + z)
                     for x in range(2) for y in range(2) for z in range(3)},
)
configuration = Configuration(machines=[m], ip="127.0.0.1", seconds_before_free=0)
"""
_SEED = 20261128
ASTRAL = "\N{OCTOPUS}"
#: At, below and beyond each limit of the protocol.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 999, 1000, 1001, 9999, 2**31, 2**53, 2**63 - 1, 2**63,
    2**64, -(2**63), 10**599, 10**600, 10**601, 1.0, 2.5, -0.0, 1e308, "", "m", "t", "x", "1",
    "me", "x" * 1024, "x" * 1025, ASTRAL * 1024, ASTRAL * 1025, "\x00", "\n\r\x1b[2J", "\ud800",
    [], [None], [1, 2], ["t"], ["t", 5], [[]], {}, {"a": 1}, "10.1.0.1", "10.1.0.0", [0, 0, 0],
    float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
NAMES = [
    "owner", "keepalive", "machine", "tags", "min_ratio", "max_dead_boards", "max_dead_links",
    "require_torus", "job_id", "reason", "machine_name", "x", "y", "z", "cabinet", "frame",
    "board", "chip_x", "chip_y", "limit", "before", "after", "address", "text", "code", "client",
    "self", "odd", "", "as_user", "from_host", "order",
]  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SpallocServer]:
    Rack(monkeypatch).at_once = True
    config = tmp_path / "a.cfg"
    config.write_text(CONFIG)
    with SpallocServer(config, port=0, durability="none") as server:
        yield server


def line(name: str, args: Any, kwargs: Any) -> bytes:
    return json.dumps({"command": name, "args": args, "kwargs": kwargs}).encode() + b"\n"


def answered(client: TcpClient, lines: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    """Send lines in one go; each has one answer, and none was a fault of ours."""
    client.send(b"".join(lines))
    for sent in lines:
        reply = client.reply()
        assert len(reply) == 1, sent
        assert reply.get("exception", "words"), f"no words for {sent!r}"
    faults = [record for record in caplog.records if record.levelname == "ERROR"]
    assert not faults, faults[0].getMessage()
    client.notifications.clear()


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_one_argument_at_every_limit(
    server: SpallocServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [line(name, [value], {}) for value in VALUES]
    lines += [line(name, [], {each: value}) for each in NAMES for value in VALUES[:12]]
    with TcpClient(server.port) as client:
        answered(client, lines, caplog)
        assert client.call("version")


@pytest.mark.parametrize("number", range(8))
def test_any_arguments(
    server: SpallocServer, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(_SEED + number)
    commands = sorted(_COMMANDS)
    with TcpClient(server.port) as client:
        for _ in range(10):
            lines = []
            for _ in range(60):
                args = [dice.choice(VALUES) for _ in range(dice.choice([0, 1, 1, 2, 3, 4]))]
                names = dice.sample(NAMES, dice.choice([0, 0, 1, 2, 4]))
                kwargs = {each: dice.choice(VALUES) for each in names}
                if dice.random() < 0.5:
                    kwargs["owner"] = dice.choice(["me", ASTRAL * 1024])
                lines.append(line(dice.choice(commands), args, kwargs))
            answered(client, lines, caplog)
        for job in client.call("list_jobs"):
            client.call("destroy_job", job["job_id"])
        assert client.call("list_jobs") == []


@pytest.mark.parametrize("number", range(4))
def test_rubbish_among_commands_ends_only_its_own_connection(
    server: SpallocServer, number: int
) -> None:
    dice = random.Random(_SEED + number)
    whole = [line(name, [], {}) for name in sorted(_COMMANDS)]
    with TcpClient(server.port) as witness:
        for _ in range(60):
            data = bytearray(b"".join(dice.sample(whole, 4)))
            for _ in range(dice.choice([1, 1, 3])):
                at = dice.randrange(len(data))
                data[at : at + dice.choice([0, 1, 5])] = dice.randbytes(dice.choice([0, 1, 3]))
            with TcpClient(server.port) as bad:
                bad.send(bytes(data))
                bad.end()
                for reply in bad.rest():
                    assert reply.keys() & {"return", "exception", "jobs_changed"} or reply
            assert witness.call("version")
