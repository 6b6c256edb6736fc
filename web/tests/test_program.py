"""The program as a process: where it listens, how it starts and ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import pytest
from spalloc_web import __version__

from tests.support.people import GOOD, people, token_of

PATIENCE = 30


class Program:
    """``spalloc-web`` in a process of its own."""

    def __init__(self, *words: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spalloc_web", "--listen", "127.0.0.1:0", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.address = line.removeprefix("spalloc-web: ").strip()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


@contextlib.contextmanager
def running(*words: str, environment: dict[str, str] | None = None) -> Iterator[Program]:
    program = Program(*words, environment=environment)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_serves_and_ends_cleanly(number: int) -> None:
    with running("--base", "/spalloc") as program:
        assert program.address.endswith("/spalloc/")
        with urllib.request.urlopen(program.address, timeout=PATIENCE) as answer:
            assert b"spalloc" in answer.read()
        # An open stream does not hold the end up.
        stream = urllib.request.urlopen(program.address + "events", timeout=PATIENCE)
        assert stream.readline().startswith(b"data: ")

        status, errors = program.end(number)
        stream.close()

        assert status == 0
        assert "Traceback" not in errors


def test_tls_is_its_own(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with running("--cert", str(cert), "--key", str(key)) as program:
        assert program.address.startswith("https://")
        trust = ssl.create_default_context(cafile=str(cert))
        with urllib.request.urlopen(program.address, context=trust, timeout=PATIENCE) as answer:
            assert answer.headers["Strict-Transport-Security"]
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(cafile=str(cert))
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        with urllib.request.urlopen(program.address, context=old, timeout=PATIENCE) as answer:
            assert answer.status == 200


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(PATIENCE)
        environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        with running(environment=environment) as program:
            first = manager.recv(4096).decode()
            assert "READY=1\n" in first
            assert program.address in first
            assert manager.recv(4096) == b"WATCHDOG=1\n"
            assert manager.recv(4096) == b"WATCHDOG=1\n"
            program.end()
            while (told := manager.recv(4096)) == b"WATCHDOG=1\n":
                pass
            assert told == b"STOPPING=1\n"


def test_an_abstract_name_and_a_manager_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    from spalloc_web import _sdnotify

    name = f"@spalloc-web-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name[1:]}")
        assert _sdnotify.tell({"NOTIFY_SOCKET": name}, STATUS="a\nb")
        assert manager.recv(100) == b"STATUS=a b\n"
    assert not _sdnotify.tell({"NOTIFY_SOCKET": name}, READY="1")
    assert "was not told READY" in caplog.text
    assert not _sdnotify.tell({}, READY="1")
    assert _sdnotify.watchdog_period({"WATCHDOG_USEC": "x"}) is None
    assert _sdnotify.watchdog_period({"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}) is None


def test_an_address_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "spalloc_web", "--listen",
             f"127.0.0.1:{taken.getsockname()[1]}"],
            capture_output=True, text=True, check=False, timeout=PATIENCE,
        )

    assert done.returncode == 1
    assert "cannot start" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_certificate_that_is_none_is_said(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_text("nonsense")
    done = subprocess.run(
        [sys.executable, "-m", "spalloc_web", "--listen", "127.0.0.1:0",
         "--cert", str(cert), "--key", str(cert)],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )

    assert done.returncode == 1
    assert "cannot start" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spalloc_web", "--version"],
        capture_output=True, text=True, check=True,
    )

    assert done.stdout == f"spalloc-web {__version__}\n"


@pytest.mark.parametrize(
    ("module", "status"), [("spalloc_web._program", -signal.SIGINT), ("_spalloc_nothing", 130)]
)
def test_an_interrupt_before_it_serves_ends_it_without_a_word(module: str, status: int) -> None:
    """From within, at its import, and at its first work."""
    program = f"""
import importlib.abc, os, signal, sys
import spalloc_web.__main__

class Early(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)

class Words(list):
    def __getitem__(self, key):
        import _spalloc_nothing

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Early())
sys.argv = Words()
sys.exit(spalloc_web.__main__.main())
"""

    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)

    assert (done.returncode, done.stderr) == (status, b"")


def test_neither_log_nor_command_line_has_a_secret(tmp_path: Path) -> None:
    users = people(tmp_path, ada="read")
    cookies = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    with running("--users", str(users), "--log-level", "debug") as program:
        page = browser.open(program.address + "login", timeout=PATIENCE).read().decode()
        form = {"token": token_of(page, "/login"), "name": "ada", "next": "/account"}
        for password in ("my other password", GOOD):
            data = urlencode({**form, "password": password}).encode()
            with contextlib.suppress(urllib.error.HTTPError):
                page = browser.open(program.address + "login", data, PATIENCE).read().decode()
        assert "Your rights" in page
        secrets = [GOOD, "my other password", *(str(each.value) for each in cookies)]
        secrets += [form["token"], token_of(page, "/logout")]
        command_line = Path(f"/proc/{program.process.pid}/cmdline").read_text()
        status, errors = program.end()

    assert status == 0
    assert "ada logged in from 127.0.0.1" in errors
    assert not [each for each in secrets if each in errors or each in command_line]


def test_health_is_for_programs() -> None:
    with (
        running() as program,
        urllib.request.urlopen(program.address + "health", timeout=PATIENCE) as answer,
    ):
        assert json.load(answer)["status"] == "ok"
