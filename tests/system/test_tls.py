"""TLS in front of the server, by the recipes that administrators and users are given."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trustme

from spalloc_server._wire.endpoints import Endpoint, Kind
from spalloc_server.server import SpallocServer
from tests.support.published import RELEASES, PublishedClient
from tests.support.simulated_server import copy_of_example, simulated_server
from tests.support.tcp_client import TcpClient

RECIPES = Path(__file__).parents[2] / "contrib" / "tls"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
STUNNEL = shutil.which("stunnel", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = pytest.mark.skipif(
    HAPROXY is None or STUNNEL is None, reason="needs haproxy and stunnel4 of the distribution"
)

POLICY = 'policy = Policy([Rule("cert:ada", "use"), Rule("cert:*", "read")], isolation="jobs")\n'


class Site:
    """A server behind HAProxy, with certificates for users."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        config = copy_of_example("demo.cfg", folder)
        config.write_text(config.read_text() + POLICY)
        place = folder / "proxy.sock"
        self.server: SpallocServer = self._stack.enter_context(
            simulated_server(config, more_endpoints=[Endpoint(Kind.proxy, str(place))])
        )
        own = self._ca.issue_cert("localhost", "127.0.0.1")
        own.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        self.tls_port = free_port()
        text = (RECIPES / "haproxy.cfg").read_text()
        text = text.replace(":22245", f"127.0.0.1:{self.tls_port}")
        text = text.replace("/etc/haproxy/spalloc.pem", str(folder / "server.pem"))
        text = text.replace("/etc/haproxy/users-ca.pem", str(folder / "ca.pem"))
        (folder / "haproxy.cfg").write_text(text.replace("/run/spalloc/proxy.sock", str(place)))
        assert HAPROXY is not None
        self._run([HAPROXY, "-db", "-f", str(folder / "haproxy.cfg")], self.tls_port)

    def tunnel(self, name: str | None) -> int:
        """Return the port where a user's stunnel takes connections; no name: no certificate."""
        assert STUNNEL is not None
        folder = self._folder / (name or "nobody")
        folder.mkdir()
        port = free_port()
        text = (RECIPES / "stunnel.conf").read_text()
        if name is not None:
            mine = self._ca.issue_cert(f"{name}@example.org", common_name=name)
            mine.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
            mine.private_key_pem.write_to_path(str(folder / "key.pem"))
        else:
            lines = text.splitlines()
            text = "\n".join(line for line in lines if not line.startswith(("cert =", "key =")))
        for old, new in {
            "accept = 127.0.0.1:22244": f"accept = 127.0.0.1:{port}",
            "connect = spalloc.example.org:22245": f"connect = 127.0.0.1:{self.tls_port}",
            "/home/me/.config/spalloc-certificate.pem": str(folder / "cert.pem"),
            "/home/me/.config/spalloc-key.pem": str(folder / "key.pem"),
            "/home/me/.config/spalloc-ca.pem": str(self._folder / "ca.pem"),
            "checkHost = spalloc.example.org": "checkHost = localhost",
        }.items():
            assert old in text or name is None
            text = text.replace(old, new)
        (folder / "stunnel.conf").write_text(text)
        self._run([STUNNEL, str(folder / "stunnel.conf")], port)
        return port

    def _run(self, command: list[str], port: int) -> None:
        """Run a program until the test ends; return when it listens."""
        log = self._stack.enter_context((self._folder / "log").open("ab"))
        program = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._stack.callback(program.wait, 20)
        self._stack.callback(program.terminate)
        for _ in range(200):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert program.poll() is None, (self._folder / "log").read_text()
            threading.Event().wait(0.05)
        raise AssertionError(f"{command[0]} does not listen")

    def close(self) -> None:
        self._stack.close()


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with closing(Site(tmp_path_factory.mktemp("tls"))) as site:
        yield site


@pytest.fixture(scope="module")
def ada(site: Site) -> int:
    return site.tunnel("ada")


def test_a_certificate_makes_its_holder_the_principal(site: Site, ada: int) -> None:
    with TcpClient(ada) as client:
        job = client.call("create_job", owner="me")
        state = client.call("get_job_state", job)

        assert site.server.controller.principal_of(job) == "cert:ada"
        assert state["keepalivehost"] == "127.0.0.1"
        client.call("destroy_job", job)


def test_another_certificate_reads_and_ends_nothing(site: Site, ada: int) -> None:
    with TcpClient(ada) as mine, TcpClient(site.tunnel("bob")) as other:
        job = mine.call("create_job", owner="me")

        assert [each["job_id"] for each in other.call("list_jobs")] == [job]
        with pytest.raises(RuntimeError, match="needs the right to use"):
            other.call("destroy_job", job)
        mine.call("destroy_job", job)


def test_without_a_certificate_nothing_is_answered(site: Site) -> None:
    with TcpClient(site.tunnel(None)) as client:
        client.ask("version")
        with pytest.raises((EOFError, ConnectionError)):
            client.reply()


def test_the_port_without_tls_admits_nobody(site: Site) -> None:
    with TcpClient(site.server.port) as client:
        assert client.rest() == []


@pytest.mark.parametrize("release", sorted(RELEASES))
def test_published_clients_work_unchanged(site: Site, ada: int, release: str) -> None:
    with PublishedClient(release, ada).job(1, owner="me") as program:
        assert program.stdin is not None
        assert program.stdout is not None
        told = json.loads(program.stdout.readline())
        principal = site.server.controller.principal_of(told["id"])
        program.stdin.write("\n\n")

    assert (told["state"], principal) == (3, "cert:ada")
