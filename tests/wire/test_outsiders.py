"""Outsiders, who try every command in every form on other people's jobs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import server as server_module
from spalloc_server._access.takeover import hash_of
from spalloc_server._wire.endpoints import Endpoint, Kind
from spalloc_server.server import SpallocServer
from tests.support.policed_server import CONFIG, Client, Start, proxied

POLICY = (
    'Policy([("127.7.0.0/16", "use"), ("127.8.0.0/16", "read"), ("cert:*", "use")],'
    ' isolation="jobs")'
)


def forms(job: int) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Ways to name a job, honest and not."""
    for told in (job, float(job), str(job), f" {job}", [job], {"job_id": job}, True, -job, 2**70):
        yield [told], {}
        yield [], {"job_id": told}
        yield [told, None], {}
        yield [told, "0" * 32], {}
        yield [told], {"code": "0" * 32}
        yield [told, 0, 0, 0, "broken"], {}
        yield [None], {"job_id": told}
        yield [told], {"job_id": None}
        yield [99], {"job_id": told}
        yield [told], {"as_user": "ada"}
        yield [told], {"as_user": "ada", "from_host": "127.7.0.1"}
        yield [told], {"client": None}
        yield [told], {"self": None}
        yield [told], {"host": "127.7.0.1", "principal": "cert:ada"}
    for order in ("end", "give", "job"):
        more = {"principal": "host:127.7.0.2"} if order == "give" else {}
        yield [{"do": order, "id": job, **more}], {}
        yield [{"do": order, "id": job, **more}, "because"], {"as_user": "ada"}


def try_everything(client: Client, job: int) -> str:
    """Give every command in every form; returns all that was told."""
    told = []
    for name, (args, kwargs) in itertools.product(server_module._COMMANDS, forms(job)):
        if name == "create_job" or name.startswith(("notify_", "no_notify_")):
            continue
        command = {"command": name, "args": args, "kwargs": kwargs}
        client.send(json.dumps(command).encode() + b"\n")
        told.append(client.reply())
    told.append(client.call("list_events", 0))
    told.append(client.call("list_ended_jobs", 1000))
    return json.dumps(told)


def record_of(server: SpallocServer, job: int) -> dict[str, Any]:
    """Return all that is kept of a job, but for the address of its last sign of life."""
    record: dict[str, Any] = dict(server.controller.__getstate__()["jobs"][job])
    del record["host"]
    return record


@pytest.mark.parametrize("victim", ["laptop", "certificate"])
@pytest.mark.parametrize("outsider", ["127.7.0.2", "127.8.0.1", "cert:eve"])
def test_nobody_touches_a_job_of_somebody_else(
    start: Start, place: str, victim: str, outsider: str
) -> None:
    server = start(POLICY, more_endpoints=[Endpoint(Kind.proxy, place)])

    def cert(name: bytes) -> Client:
        return Client(server, place, proxied("127.7.0.1", name))

    with cert(b"ada") if victim == "certificate" else Client(server, "127.7.0.1") as mine:
        job = mine.call("create_job", 3, owner="me", keepalive=600.0)
        mine.call("notify_job", job)
        while mine.call("get_job_state", job)["state"] != 3:
            mine.notification()
        code = mine.call("get_takeover_code", job)
        before, deadline = record_of(server, job), server.controller._jobs[job].deadline

        with cert(b"eve") if outsider == "cert:eve" else Client(server, outsider) as other:
            told = try_everything(other, job)

        assert record_of(server, job) == before
        assert code not in told
        assert hash_of(code) not in told
        assert before["code"] == hash_of(code)
        renewed = server.controller._jobs[job].deadline != deadline
        assert renewed is (victim == "laptop" and outsider != "127.8.0.1")
        assert mine.call("get_job_state", job)["state"] == 3
        mine.call("destroy_job", job)


def test_after_a_reload_the_rights_are_those_of_the_new_policy(
    start: Start, tmp_path: Path
) -> None:
    """Rights are those of the policy in force, not of the time of connecting."""
    server = start(POLICY)
    with Client(server, "127.7.0.1") as client, Client(server, "127.7.0.2") as denied:
        job = client.call("create_job", owner="me")
        denied.call("notify_job")
        policy = POLICY.replace('("127.7.0.0/16", "use")', '("127.7.0.1", "read")')
        (tmp_path / "test.cfg").write_text(CONFIG.format(policy=policy))
        assert server.read_config_file()

        assert denied.rest() == []
        for name in ("destroy_job", "power_off_job_boards"):
            assert "needs the right to use" in client.refused(name, job)
        assert client.call("job_keepalive", job) is None


@pytest.mark.parametrize(
    "first",
    [
        proxied("127.7.0.1", b"ada"),
        b"PROXY TCP4 127.7.0.1 127.0.0.1 1 2\r\n",
        proxied("127.7.0.1") + b'{"command": "version"}\n',
    ],
)
def test_a_header_where_no_proxy_is_gives_nobody_a_name(start: Start, first: bytes) -> None:
    server = start(POLICY)

    for source in ("127.7.0.2", "127.9.0.1"):
        with Client(server, source, first) as client:
            client.send(b'{"command": "version"}\n')
            client.end()
            assert client.rest() == []


def test_a_second_header_changes_nobodys_name(start: Start, place: str) -> None:
    server = start(POLICY, more_endpoints=[Endpoint(Kind.proxy, place)])
    twice = proxied("127.7.0.2") + proxied("127.7.0.1", b"ada") + b'{"command": "version"}\n'

    with Client(server, place, twice) as client:
        client.end()
        assert client.rest() == []


def test_words_in_a_denied_name_stay_on_one_line_of_the_log(
    start: Start, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = start('Policy([("cert:ada", "use")])', more_endpoints=[Endpoint(Kind.proxy, place)])

    with Client(server, place, proxied("127.7.0.1", b"eve\nclient 1 admitted")) as client:
        assert client.rest() == []

    assert "denied cert:eve\\nclient 1 admitted" in caplog.text
