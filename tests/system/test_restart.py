"""Clients hold their jobs through restarts, kills and upgrades, and notice nothing.

The published ones stop their keepalive at the first lost connection; so either no connection is
lost, or the job lives on grace.  ``make soak`` does it more often (RESTARTS, KILLS, UPGRADES).
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.carried_service import CarriedService
from tests.support.keepers import OURS, RELEASES, Keeper, Unavailable
from tests.support.tcp_client import TcpClient

RESTARTS = int(os.environ.get("RESTARTS", "2"))
KILLS = int(os.environ.get("KILLS", "2"))
UPGRADES = int(os.environ.get("UPGRADES", "1"))
#: The keepers' keepalive period, seconds.
KEEPALIVE = 5.0
READY = 3


@pytest.fixture
def service(tmp_path: Path) -> Iterator[CarriedService]:
    # Without grace: signs of life alone keep the jobs.
    with CarriedService(tmp_path, "\ntakeover_grace = 0\n") as service:
        yield service


class Load:
    """Clients that ask without end, and connect again when they are cut off."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._done = threading.Event()
        self.answers = 0
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(3)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        commands = itertools.cycle(("version", "list_jobs", "list_machines")[number:])
        while not self._done.is_set():
            try:
                with TcpClient(self._port) as client:
                    client.call("notify_job")
                    while not self._done.is_set():
                        client.call(next(commands))
                        self.answers += 1
                        self._done.wait(0.002)
            except (OSError, EOFError):
                self._done.wait(0.01)

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def keepers(service: CarriedService) -> Iterator[list[Keeper]]:
    """A keeper of each release that can be run here."""
    keepers: list[Keeper] = []
    try:
        for release in (OURS, *RELEASES):
            try:
                keepers.append(Keeper(release, service.port))
            except Unavailable as e:
                print(f"{release}: left out: {e}")
        yield keepers
    finally:
        for keeper in keepers:
            keeper.stop()


@pytest.mark.parametrize("release", [OURS, *RELEASES])
def test_a_release_can_be_tried(release: str, service: CarriedService) -> None:
    try:
        keeper = Keeper(release, service.port)
    except Unavailable as e:
        pytest.skip(str(e))

    assert keeper.ask() == {"id": keeper.job_id, "state": READY, "power": True}
    keeper.stop()


def test_all_hold_their_jobs_through_everything(
    service: CarriedService, keepers: list[Keeper]
) -> None:
    # A connection is kept once it has spoken for a job, and has lived for a second.
    time.sleep(KEEPALIVE / 2 + 1.5)
    steps = ["stop"] * RESTARTS + ["kill"] * KILLS + ["upgrade"] * UPGRADES
    random.Random(20261128).shuffle(steps)
    before = {n: each for n, each in service.switched().items() if each["on"]}
    assert len(before) == len(keepers)
    load = Load(service.port)
    pauses = []
    try:
        for number, step in enumerate(steps):
            if step == "upgrade":
                upgraded = "tests.support.upgraded_server"
                service.use(sys.executable, "-m", upgraded, str(number + 1))
            began = time.monotonic()
            service.restart("kill" if step == "kill" else "stop")
            for keeper in keepers:
                state = keeper.ask()
                assert state == {"id": keeper.job_id, "state": READY, "power": True}, (
                    f"{keeper.release} after {step}: {service.log()[-3000:]}"
                )
            pauses.append(time.monotonic() - began)
        # All must still be kept alive, by connections that began before the first step.
        time.sleep(KEEPALIVE + 2.0)
        with TcpClient(service.port) as client:
            states = {job["job_id"]: job["state"] for job in client.call("list_jobs")}
    finally:
        load.stop()
    assert states == {keeper.job_id: READY for keeper in keepers}, service.log()[-6000:]
    switched = service.switched()
    assert {n: switched[n] for n in before} == before
    assert load.answers > 100
    print(f"longest pause: {max(pauses):.2f} s, answers to the load: {load.answers}")


def test_without_a_store_grace_keeps_the_jobs(tmp_path: Path) -> None:
    keepers = []
    with CarriedService(tmp_path) as service:
        try:
            for release in (OURS, *RELEASES):
                try:
                    keepers.append(Keeper(release, service.port))
                except Unavailable as e:
                    print(f"{release}: left out: {e}")
            service.order("kill")
            service.order("empty")
            service.order("start")
            time.sleep(KEEPALIVE + 2.0)

            with TcpClient(service.port) as client:
                states = {job["job_id"]: job["state"] for job in client.call("list_jobs")}
            assert states == {keeper.job_id: READY for keeper in keepers}
        finally:
            for keeper in keepers:
                keeper.stop()


def test_a_client_may_die_at_each_byte_of_a_command_and_of_a_reply(
    service: CarriedService,
) -> None:
    line = b'{"command": "notify_job", "args": [1]}\n'
    reply = b'{"return": null}\n'
    with TcpClient(service.port) as witness:
        witness.call("create_job", owner="me", keepalive=None)
        for sent, read in [(n, 0) for n in range(len(line) + 1)] + [
            (len(line), n) for n in range(len(reply) + 1)
        ]:
            client = TcpClient(service.port)
            client.send(line[:sent])
            if read:
                assert client.socket.recv(read)
            client.reset() if (sent + read) % 2 else client.close()
        time.sleep(1.5)
        service.restart("kill")

        assert witness.call("get_job_state", 1)["state"] == READY
        names = [name for name in service.order("state")["names"] if name.startswith("c")]
        assert len(set(names)) == 1
