"""What tells that something is to be written before anybody is told of it is never behind."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from spalloc_server._saved import disk_trouble, store
from spalloc_server._wire.peer import Client as Reader
from spalloc_server._wire.peer import Output
from spalloc_server.server import SpallocServer
from tests.support.lasting_hardware import Facility, facility, wait_until
from tests.support.simulated_server import Client
from tests.support.store_disks import FailingDisk

__all__ = ("facility",)

_SEED = 20261126


def _behind(server: SpallocServer) -> bool:
    """Whether something is to be written, or frames are held back, and the flag does not say."""
    todo = server._store.pending or bool(server._write_ahead._requests)
    return todo and not server._write_ahead.uncommitted


@contextmanager
def _watched(server: SpallocServer) -> Iterator[None]:
    """Look at the flag all the time, whenever nobody else has the lock."""
    wrong, looks, done = [], [], threading.Event()

    def look() -> None:
        while not done.is_set():
            with server.controller.undisturbed:
                looks.append(server._write_ahead.uncommitted)
                if _behind(server):
                    wrong.append(len(looks))
            done.wait(0.0005)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert looks
    assert not wrong


@contextmanager
def _served(facility: Facility) -> Iterator[tuple[SpallocServer, Client]]:
    """Start a server whose flag is looked at; its end does not wait for hardware."""
    with ExitStack() as stack:
        server = stack.enter_context(facility.server(stop_timeout=0.0))
        client = stack.enter_context(Client(server.port))
        stack.enter_context(_watched(server))
        yield server, client


@pytest.fixture
def told_too_early(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list of what was answered although something was still to be written."""
    early: list[bytes] = []
    servers: list[SpallocServer] = []
    send_new = Output.send_new
    start = SpallocServer._start

    def started(self: SpallocServer, *args: Any) -> None:
        servers.append(self)
        start(self, *args)

    def checked(self: Output, client: Reader, data: bytes) -> bool:
        for server in servers:
            # Under the lock nobody can add to what is to be written meanwhile.
            owned = server.controller.undisturbed._is_owned()  # type: ignore[attr-defined]
            if client in server._peers and owned and server._store.pending:
                early.append(data)
        return send_new(self, client, data)

    monkeypatch.setattr(SpallocServer, "_start", started)
    monkeypatch.setattr(Output, "send_new", checked)
    return early


def _live(facility: Facility, server: SpallocServer, client: Client, dice: random.Random) -> None:
    """Do one thing that changes something, or asks."""
    jobs = [job["job_id"] for job in client.call("list_jobs")]
    what = dice.randrange(9)
    if what <= 2 or not jobs:
        client.call("create_job", dice.randint(1, 4), owner="me", keepalive=None)
    elif what <= 4:
        client.call("destroy_job", dice.choice(jobs))
    elif what == 5:
        client.call("power_on_job_boards", dice.choice(jobs))
    elif what == 6:
        server.create_job(None, owner="within", keepalive=0.001)
    elif what == 7:
        level = dice.choice(["process", "none", "always"])
        facility.configure("f", *["g"] * dice.randrange(2), more=f"durability = {level!r}")
        os.kill(os.getpid(), signal.SIGHUP)
    else:
        # In one go, so that they are read in one turn.
        ask = [{"command": "create_job", "kwargs": {"owner": "me"}}]
        ask += [{"command": "get_job_state", "args": [job]} for job in jobs]
        for each in ask:
            client.send_line(json.dumps(each))
        for _ in ask:
            assert "return" in client.answer()
    for job in jobs:
        client.call("get_job_state", job)


@pytest.mark.parametrize("number", range(4))
def test_whatever_happens(facility: Facility, told_too_early: list[bytes], number: int) -> None:
    dice = random.Random(_SEED + number)
    facility.simulation.frame("f")
    with _served(facility) as (server, client):
        for _ in range(40):
            _live(facility, server, client, dice)
            if dice.random() < 0.1:
                facility.simulation.command(f"f board {dice.randrange(6)} refuse-power")
        wait_until(lambda: not server._write_ahead.uncommitted)
    assert not told_too_early


def test_while_the_disk_takes_nothing(facility: Facility, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FailingDisk()
    monkeypatch.setattr(store, "Disk", lambda: disk)
    monkeypatch.setattr(disk_trouble, "_LONGEST_WAIT", 0.05)
    monkeypatch.setattr("spalloc_server._jobs.write_ahead._SECONDS_BETWEEN_TRIES", 0.05)
    with _served(facility) as (server, client):
        disk.fail("write", "open")
        for _ in range(5):
            client.call("create_job", owner="me")
            client.call("get_job_state", 1)
        wait_until(lambda: server.store.trouble)
        disk.fail()
        wait_until(lambda: not server.store.trouble and not server._write_ahead.uncommitted)
