"""TLS in front of the server, by the recipes that administrators and users are given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.fronted_server import FrontedServer, needs_tls
from tests.support.published import RELEASES, PublishedClient
from tests.support.tcp_client import TcpClient

pytestmark = needs_tls

POLICY = 'Policy([Rule("cert:ada", "use"), Rule("cert:*", "read")], isolation="jobs")'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontedServer]:
    with closing(FrontedServer(tmp_path_factory.mktemp("tls"), POLICY)) as site:
        site.tls_proxy()
        yield site


@pytest.fixture(scope="module")
def ada(site: FrontedServer) -> int:
    return site.tunnel("ada")


def test_a_certificate_makes_its_holder_the_principal(site: FrontedServer, ada: int) -> None:
    with TcpClient(ada) as client:
        job = client.call("create_job", owner="me")
        state = client.call("get_job_state", job)

        assert site.server.controller.belonging.principal_of(job) == "cert:ada"
        assert state["keepalivehost"] == "127.0.0.1"
        client.call("destroy_job", job)


def test_another_certificate_reads_and_ends_nothing(site: FrontedServer, ada: int) -> None:
    with TcpClient(ada) as mine, TcpClient(site.tunnel("bob")) as other:
        job = mine.call("create_job", owner="me")

        assert [each["job_id"] for each in other.call("list_jobs")] == [job]
        with pytest.raises(RuntimeError, match="needs the right to use"):
            other.call("destroy_job", job)
        mine.call("destroy_job", job)


def test_without_a_certificate_nothing_is_answered(site: FrontedServer) -> None:
    with TcpClient(site.tunnel(None)) as client:
        client.ask("version")
        with pytest.raises((EOFError, ConnectionError)):
            client.reply()


def test_the_port_without_tls_admits_nobody(site: FrontedServer) -> None:
    with TcpClient(site.server.port) as client:
        assert client.rest() == []


@pytest.mark.parametrize("release", sorted(RELEASES))
def test_published_clients_work_unchanged(site: FrontedServer, ada: int, release: str) -> None:
    with PublishedClient(release, ada).job(1, owner="me") as program:
        assert program.stdin is not None
        assert program.stdout is not None
        told = json.loads(program.stdout.readline())
        principal = site.server.controller.belonging.principal_of(told["id"])
        program.stdin.write("\n\n")

    assert (told["state"], principal) == (3, "cert:ada")
