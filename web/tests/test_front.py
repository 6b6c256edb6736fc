"""Log-ins and orders before a real server, which knows the pages as a front on its Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from spalloc_web._facility.connection import (
    CommandRefusedError,
    Connection,
    ConnectionLostError,
)
from spalloc_web._http.app import make_app
from spalloc_web._http.context import CONTEXT
from spalloc_web._settings import settings_of

from tests.support.people import log_in, people, token_of

pytest.importorskip("spalloc_server", reason="the server is not installed")
CONFIGURATION = """
configuration = Configuration(machines=[
    Machine.with_standard_ips("spin", board_locations={
        (0, 0, 0): (0, 0, 0), (0, 0, 1): (0, 0, 1), (0, 0, 2): (0, 0, 2)})])
policy = Policy(access=[
    Rule("unix:UID", "front"), Rule("user:grace", "operate"), Rule("user:eve", "deny"),
    Rule("user:*", "use"), Rule("127.0.0.0/8", "use")], isolation="jobs")
"""
PATIENCE = 60


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(PATIENCE * 50):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come")


class Real:
    """A real server, pages before it, and a client of each."""

    def __init__(self, folder: Path, client: TestClient[Any, Any], users: Connection) -> None:
        self.folder = folder
        self.client = client
        self.users = users
        self.context = client.app[CONTEXT]

    async def knows(self, job_id: int) -> None:
        """Wait until the pages know of a job."""
        await until(lambda: job_id in self.context.picture.jobs)

    def state_of(self, job_id: int) -> str | None:
        """Return a job's state, as the pages know it."""
        job = self.context.picture.jobs.get(job_id)
        return job.state if job else None

    async def give(self, word: str, question: str, **filled: str) -> tuple[int, str]:
        text = await (await self.client.get(f"/orders/{word}?{question}")).text()
        assert "<form" in text, text
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text)
        data = {name: html.unescape(value) for name, value in hidden} | filled
        data["token"] = token_of(text, f"/orders/{word}")
        answer = await self.client.post(f"/orders/{word}", data=data)
        return answer.status, html.unescape(await answer.text())

    def orders_of(self, principal: str) -> list[str]:
        """Return the orders that the server's audit has of somebody, as far as it is written."""
        entries = [
            json.loads(line)
            for path in sorted(self.folder.glob("**/spalloc_audit-*.jsonl"))
            for line in path.read_text().split("\n")[:-1]
        ]
        return [entry["order"] for entry in entries if entry["by"] == principal]


@contextlib.asynccontextmanager
async def real(folder: Path, **options: str) -> AsyncIterator[Real]:
    configuration, place = folder / "spalloc.cfg", folder / "clients"
    configuration.write_text(CONFIGURATION.replace("UID", str(os.getuid())))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "spalloc_server", "--simulate", "--port", "0",
             "--bind", "127.0.0.1",
             "--unix-socket", place, "--state-dir", folder, configuration],
            stdout=log, stderr=log, cwd=folder,
        )
    try:
        await _until_there(process, place, folder)
        users = people(folder, grace="operate", ada="use", eve="use", zoe="operate")
        settings = settings_of({"server": f"unix:{place}", "users": str(users)} | options)
        async with TestClient(TestServer(make_app(settings))) as client:
            context = client.app[CONTEXT]
            await asyncio.wait_for(context.follower.first_picture(), PATIENCE)
            port = re.search(r"listening on .*port (\d+)", (folder / "log").read_text())
            assert port, (folder / "log").read_text()
            connection = await Connection.open("127.0.0.1", int(port[1]), lambda *_: None)
            async with connection:
                yield Real(folder, client, connection)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE)


async def _until_there(process: subprocess.Popen[bytes], place: Path, folder: Path) -> None:
    for _ in range(PATIENCE * 20):
        assert process.poll() is None, (folder / "log").read_text()
        with contextlib.suppress(ConnectionLostError):
            async with await Connection.open(f"unix:{place}", 0, lambda *_: None):
                return
        await asyncio.sleep(0.05)
    raise AssertionError("the server does not come")


async def test_orders_are_the_users_in_audit_events_and_reasons(tmp_path: Path) -> None:
    async with real(tmp_path) as place:
        job_id = await place.users.call("create_job", owner="ada@example.org", keepalive=None)
        await place.knows(job_id)
        await log_in(place.client, "grace")
        account = await (await place.client.get("/account")).text()
        assert "operate, as user:grace" in account
        assert "the local socket" in account
        assert str(tmp_path) not in account

        status, text = await place.give("out", "boards=spin:0,0,2", reason="new fan")
        assert (status, "1 board out of service" in text) == (200, True)
        status, text = await place.give("message", "text=Back+at+noon&accepting=no")
        assert (status, "New jobs are refused" in text) == (200, True)
        with pytest.raises(CommandRefusedError, match="Back at noon"):
            await place.users.call("create_job", owner="ada@example.org")
        status, text = await place.give("give", f"id={job_id}", principal="cert:ada")
        assert "It was of host:127.0.0.1, and is of cert:ada." in text
        status, text = await place.give("end", f"id={job_id}", reason="fire drill")
        words = "Ended by an operator, user:grace: fire drill"
        assert f"is told: {words}." in text
        assert (await place.users.call("get_job_state", job_id))["reason"] == words
        status, text = await place.give("back", "all=yes")
        assert "1 board back in service" in text

        wanted = ["out", "message", "give", "end", "back"]
        # A thread of the server writes the file, a moment after the answer.
        await until(lambda: len(place.orders_of("user:grace")) >= len(wanted))
        assert place.orders_of("user:grace") == wanted


async def test_a_job_of_another_principal_ends_by_its_code_alone(tmp_path: Path) -> None:
    async with real(tmp_path) as place:
        job_id = await place.users.call("create_job", owner="ada@example.org", keepalive=None)
        await place.knows(job_id)
        await log_in(place.client, "ada")
        assert "use, as user:ada" in await (await place.client.get("/account")).text()

        status, text = await place.give("end-own", f"id={job_id}")
        assert status == 409
        assert "this job is of host:127.0.0.1, you are user:ada" in text
        status, text = await place.give("end-own", f"id={job_id}", code="0" * 32)
        assert status == 409
        assert "this is not the code" in text
        code = await place.users.call("get_takeover_code", job_id)
        status, text = await place.give("end-own", f"id={job_id}", code=code)
        assert status == 200
        state = await place.users.call("get_job_state", job_id)
        assert (state["state"], state["reason"]) == (4, "ended on the pages by ada")


async def test_a_job_of_another_owner_ends_if_it_was_given(tmp_path: Path) -> None:
    async with real(tmp_path) as place:
        job_id = await place.users.call("create_job", owner="brian", keepalive=None)
        await place.knows(job_id)
        await log_in(place.client, "ada")
        status, text = await place.give("end-own", f"id={job_id}")
        assert (status, "is of brian, not of ada" in text) == (403, True)

        order = {"do": "give", "id": job_id, "principal": "user:ada"}
        await place.context.front.call("grace", None, "operate", order)
        status, text = await place.give("end-own", f"id={job_id}", reason="thanks")
        assert status == 200
        assert (await place.users.call("get_job_state", job_id))["reason"] == "thanks"


async def test_a_report_counts_from_the_computer_that_keeps_the_job_alive(
    tmp_path: Path,
) -> None:
    async with real(tmp_path) as place:
        job_id = await place.users.call("create_job", owner="ada@example.org", keepalive=None)
        await until(lambda: place.state_of(job_id) == "ready")
        boards = (await place.users.call("get_job_machine_info", job_id))["boards"]
        await log_in(place.client, "ada")

        x, y, z = boards[0]
        status, text = await place.give(
            "report", f"id={job_id}", board=f"{x},{y},{z}", text="it smokes"
        )
        assert status == 200
        assert "it does not count" not in text
        assert "nothing is noted" not in text


async def test_the_servers_rules_have_the_last_word(tmp_path: Path) -> None:
    async with real(tmp_path) as place:
        await log_in(place.client, "zoe")
        text = await (await place.client.get("/operate")).text()
        assert "operate needs the right to operate" in text
        place.client.session.cookie_jar.clear()
        await log_in(place.client, "grace")
        text = await (await place.client.get("/operate?user=zoe&address=10.1.1.1")).text()
        assert "<b>user:zoe</b> has the right to use, by rule 4 (user:*)." in text
        place.client.session.cookie_jar.clear()
        await log_in(place.client, "zoe")
        assert "use, as user:zoe" in await (await place.client.get("/account")).text()
        place.client.session.cookie_jar.clear()
        await log_in(place.client, "eve")
        text = await (await place.client.get("/account")).text()
        assert "not known: user:eve is not admitted" in text
