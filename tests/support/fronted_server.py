"""A server in this process behind HAProxy, by TLS with certificates or without, and stunnels."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from spalloc_server._wire.endpoints import Endpoint, Kind
from spalloc_server.server import SpallocServer
from tests.support.simulated_server import copy_of_example, simulated_server

RECIPES = Path(__file__).parents[2] / "contrib" / "tls"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
STUNNEL = shutil.which("stunnel", path=f"{os.environ['PATH']}:/usr/sbin")

#: Passes connections on with a header of the PROXY protocol, version 2.
_PLAIN_PROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen spalloc
    bind 127.0.0.1:{port}
    server spalloc unix@{place} send-proxy-v2
"""

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="needs haproxy of the distribution")
needs_tls = pytest.mark.skipif(
    HAPROXY is None or STUNNEL is None, reason="needs haproxy and stunnel4 of the distribution"
)


class FrontedServer:
    """A server on the example ``demo.cfg`` with a Unix socket for a proxy, until `close`.

    Parameters
    ----------
    folder : Path
        For all files.
    policy : str
        Of the configuration file, in Python.

    Attributes
    ----------
    tls_port : int
        Of `tls_proxy`.
    """

    tls_port: int

    def __init__(self, folder: Path, policy: str) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._place = folder / "proxy.sock"
        self.config = copy_of_example("demo.cfg", folder)
        # Boards that do not rest, so that each test finds them free.
        text = self.config.read_text().replace("seconds_before_free=30", "seconds_before_free=0")
        self.config.write_text(f"{text}policy = {policy}\n")
        self.server: SpallocServer = self._stack.enter_context(
            simulated_server(self.config, more_endpoints=[Endpoint(Kind.proxy, str(self._place))])
        )

    def plain_proxy(self) -> int:
        """Start HAProxy without TLS; returns its port."""
        port = free_port()
        path = self._folder / "plain.cfg"
        path.write_text(_PLAIN_PROXY.format(port=port, place=self._place))
        assert HAPROXY is not None
        self._run([HAPROXY, "-db", "-f", str(path)], port)
        return port

    def tls_proxy(self) -> None:
        """Start HAProxy by the administrators' recipe; `tunnel` leads there."""
        folder = self._folder
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        own = self._authority.issue_cert("localhost", "127.0.0.1")
        own.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        self.tls_port = free_port()
        text = (RECIPES / "haproxy.cfg").read_text()
        for old, new in {
            ":22245": f"127.0.0.1:{self.tls_port}",
            "/etc/haproxy/spalloc.pem": str(folder / "server.pem"),
            "/etc/haproxy/users-ca.pem": str(folder / "ca.pem"),
            "/run/spalloc/proxy.sock": str(self._place),
        }.items():
            assert old in text
            text = text.replace(old, new)
        (folder / "haproxy.cfg").write_text(text)
        assert HAPROXY is not None
        self._run([HAPROXY, "-db", "-f", str(folder / "haproxy.cfg")], self.tls_port)

    def certificate(self, name: str) -> Path:
        """Return a file with a user's certificate and its key."""
        path = self._folder / f"{name}.pem"
        mine = self._authority.issue_cert("user@example.org", common_name=name)
        mine.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def tunnel(self, name: str | None) -> int:
        """Return the port where a user's stunnel takes connections; no name: no certificate."""
        assert STUNNEL is not None
        folder = self._folder / (name or "nobody")
        folder.mkdir()
        port = free_port()
        text = (RECIPES / "stunnel.conf").read_text()
        if name is not None:
            mine = self._authority.issue_cert(f"{name}@example.org", common_name=name)
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
        """Run a program until the end; return when it listens."""
        log = self._stack.enter_context((self._folder / "log").open("ab"))
        program = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._stack.callback(program.wait, 20)
        self._stack.callback(program.terminate)
        for _ in range(400):
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
