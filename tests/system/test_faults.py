"""Who may end the program, and whose a fault is: the table of the manual, walked row by row."""

from __future__ import annotations

import csv
import errno
import json
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import async_bmp_controller
from spalloc_server._bmp import frame_hardware, transceiver
from spalloc_server._logs.daily_file import DailyFile
from spalloc_server._logs.line_writer import LineWriter
from spalloc_server._programs import announcer, command_line, pulse
from spalloc_server.async_bmp_controller import AsyncBMPController
from spalloc_server.controller import JobState
from spalloc_server.server import SpallocServer
from tests.support.notify_socket import NotifySocket
from tests.support.program import Program
from tests.support.simulated_server import PATIENCE, Client, copy_of_example

TABLE = Path(__file__).parents[2] / "docs" / "faults.csv"


class Scene:
    """One row's fault is made here."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = copy_of_example("frame-24-boards.cfg", folder)
        self.config = self.config.rename(folder / "machines.cfg")
        self.monkeypatch = monkeypatch
        self.program = Program(folder, monkeypatch)
        self.folder = folder
        monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_TRIES", 0.0)

    def job(self, server: SpallocServer, state: JobState = JobState.ready) -> int:
        """Create a job of three boards, and wait for its state."""
        job_id = server.create_job(None, 3, owner="me", keepalive=None)
        self.until(lambda: server.get_job_state(None, job_id)["state"] == state)
        return job_id

    def until(self, happened: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def alive(self, server: SpallocServer) -> None:
        """The server serves a client."""
        with Client(server.port) as client:
            assert client.call("version")
        assert not server.ended_by_fault

    def refuse(self, owner: Any, name: str, error: BaseException, times: int = 10**9) -> None:
        """Have the next calls of something fail."""
        real, left = getattr(owner, name), [error] * min(times, 1000)

        def call(*args: Any, **kwargs: Any) -> Any:
            if left:
                raise left.pop()
            return real(*args, **kwargs)

        self.monkeypatch.setattr(owner, name, call)

    def pages(self) -> list[int]:
        """Ports of the metrics pages, as they are opened."""
        ports: list[int] = []
        listen = command_line._listen_for_monitors

        def note(*args: Any) -> Any:
            made = listen(*args)
            assert made is not None
            ports.append(made.port)
            return made

        self.monkeypatch.setattr(command_line, "_listen_for_monitors", note)
        return ports

    def frame(self, server: SpallocServer) -> AsyncBMPController:
        ((frame,),) = [its.values() for its in server.controller._bmp_controllers.values()]
        return frame


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


Said = Callable[[], str]
CAUSES: dict[str, Callable[[Scene, Said], None]] = {}


def cause(function: Callable[[Scene, Said], None]) -> Callable[[Scene, Said], None]:
    """Enter a row of the table."""
    CAUSES[function.__name__.strip("_").replace("_", "-")] = function
    return function


def rows() -> list[dict[str, str]]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_of_the_table_is_walked() -> None:
    assert [row["Key"] for row in rows()] == list(CAUSES)
    assert all(row["Whose"].endswith("'s") and row["Effect"] for row in rows())


@pytest.mark.parametrize("key", CAUSES)
def test_a_fault_is_met_by_the_party_whose_it_is(
    scene: Scene, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], key: str
) -> None:
    CAUSES[key](scene, lambda: caplog.text + capfd.readouterr().err)


@cause
def configuration(scene: Scene, said: Said) -> None:
    scene.config.write_text("configuration = None\n")

    assert scene.program.run() == 1
    assert "Config file could not be loaded." in said()


@cause
def port(scene: Scene, said: Said) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        scene.program.options = ["--port", str(taken.getsockname()[1])]

        assert scene.program.run() == 1
    assert "Traceback" not in said()


@cause
def spinnman(scene: Scene, said: Said) -> None:
    transceiver._spinnman.cache_clear()
    scene.monkeypatch.setitem(sys.modules, "spinnman.model", None)

    assert scene.program.run() == 2
    text = said()
    assert "not started: SpiNNMan cannot be imported" in text
    assert "Traceback" not in text
    assert scene.program.server is not None
    assert not scene.program.server.is_alive()


@cause
def not_ready(scene: Scene, said: Said) -> None:
    scene.refuse(command_line, "ServiceManager", RuntimeError("unthought of"))

    assert scene.program.run(stop=False) == 2
    assert "unthought of" in said()
    assert scene.program.server is not None
    assert not scene.program.server.is_alive()
    assert (scene.folder / ".machines.cfg.simulated.state.1.0.0").exists() or list(
        scene.folder.glob(".machines.cfg.simulated.state.*")
    ), "the state was saved"


@cause
def greeting(scene: Scene, said: Said) -> None:
    scene.refuse(command_line, "greeting", UnicodeError("cannot be shown"))

    assert scene.program.run(scene.alive) == 0
    assert "no greeting" in said()


@cause
def main_thread(scene: Scene, said: Said) -> None:
    scene.refuse(announcer.Announcer, "look", RuntimeError("unthought of"))
    with NotifySocket(scene.folder / "notify") as systemd:
        for name, value in systemd.environ.items():
            scene.monkeypatch.setenv(name, value)
        scene.monkeypatch.setenv("WATCHDOG_USEC", "40000")
        told = threading.Event()
        tell = command_line.log.exception

        def note(*args: Any) -> None:
            tell(*args)
            told.set()

        scene.monkeypatch.setattr(command_line.log, "exception", note)

        def during(server: SpallocServer) -> None:
            assert told.wait(PATIENCE)
            scene.alive(server)

        assert scene.program.run(during) == 0
    assert said().count("the main thread met a fault") == 1


@cause
def signal_(scene: Scene, said: Said) -> None:
    assert scene.program.run() == 0
    assert signal.getsignal(signal.SIGTERM) is not None
    assert "Traceback" not in said()


@cause
def turn(scene: Scene, said: Said) -> None:
    def during(server: SpallocServer) -> None:
        scene.refuse(server, "_send_change_notifications", RuntimeError("unthought of"), times=1)
        server.wake()
        scene.until(lambda: "a turn of the loop failed" in said())
        scene.alive(server)

    assert scene.program.run(during) == 0


@cause
def loop(scene: Scene, said: Said) -> None:
    def during(server: SpallocServer) -> None:
        scene.refuse(server, "_survive", SystemExit("not even that"))
        scene.refuse(server, "_send_change_notifications", RuntimeError("unthought of"))
        server.wake()
        scene.until(lambda: not server.is_alive())

    scene.monkeypatch.setattr(threading, "excepthook", lambda _: None)
    assert scene.program.run(during, stop=False) == 2
    assert "the loop ended by itself" in said()


@cause
def reload(scene: Scene, said: Said) -> None:
    def during(server: SpallocServer) -> None:
        scene.config.write_text("1 / 0\n")
        server._reload_config = True
        server.wake()
        scene.until(lambda: server.failed_reloads)
        scene.job(server)

    assert scene.program.run(during) == 0
    assert "ZeroDivisionError" in said()


@cause
def log(scene: Scene, said: Said) -> None:
    scene.monkeypatch.setattr("spalloc_server._logs.line_writer.MOST_LINES", 0)

    assert scene.program.run(scene.alive) == 0


@cause
def job_log(scene: Scene, said: Said) -> None:
    scene.program.options = ["--metrics-port", "0", "--job-log", "jobs.log"]
    full = OSError(errno.ENOSPC, "No space left on device")
    pages = scene.pages()

    def during(server: SpallocServer) -> None:
        scene.refuse(DailyFile, "write", full)
        scene.job(server)
        scene.until(lambda: "jobs.log: No space left" in said())
        with pytest.raises(urllib.error.HTTPError) as failing:
            urllib.request.urlopen(f"http://127.0.0.1:{pages[0]}/health", timeout=PATIENCE)
        assert failing.value.code == 503
        assert "job log: No space left" in json.loads(failing.value.read())["problems"][0]["text"]

    assert scene.program.run(during) == 0


@cause
def shortage(scene: Scene, said: Said) -> None:
    scene.monkeypatch.setattr(frame_hardware, "_PAUSES_IN_SHORTAGE", (0.001,))
    spinnman = transceiver._spinnman()
    left = [OSError(errno.EMFILE, "Too many open files")] * 5

    def connect(*args: Any) -> Any:
        if left:
            raise left.pop()
        return spinnman.connection(*args)

    scarce = spinnman._replace(connection=connect)  # type: ignore[arg-type]
    scene.monkeypatch.setattr(transceiver, "_spinnman", lambda: scarce)

    def during(server: SpallocServer) -> None:
        scene.job(server)
        assert scene.frame(server).answering is True
        assert server.controller.overview.out_of_service() == []

    assert scene.program.run(during) == 0
    text = said()
    assert "no file descriptors left (EMFILE) here, not the frame's fault" in text
    assert "does not answer" not in text


@cause
def silence(scene: Scene, said: Said) -> None:
    scene.program.options = ["--fault", "all mute", "--stop-timeout", "0"]
    for waits in ("_REGISTER_WAITS", "_POWER_ON_WAITS", "_POWER_OFF_WAITS"):
        scene.monkeypatch.setattr(transceiver, waits, (0.001,))

    def during(server: SpallocServer) -> None:
        server.create_job(None, 3, owner="me", keepalive=None)
        scene.until(lambda: len(server.controller.overview.out_of_service()) == 24)
        scene.alive(server)

    assert scene.program.run(during) == 0
    assert "does not answer" in said()


@cause
def answer(scene: Scene, said: Said) -> None:
    scene.program.options = ["--fault", "all board 0 error 0x83 read"]

    def during(server: SpallocServer) -> None:
        job_id = server.create_job(None, 0, 0, 0, owner="me", keepalive=None)
        scene.until(lambda: server.get_job_state(None, job_id)["state"] == JobState.destroyed)
        (out,) = server.controller.overview.out_of_service()
        assert out.board == (0, 0, 0)
        scene.job(server)

    assert scene.program.run(during) == 0


@cause
def cut_answer(scene: Scene, said: Said) -> None:
    scene.monkeypatch.setattr(transceiver, "_REGISTER_WAITS", (0.05, 5.0, 5.0, 5.0))
    spinnman = transceiver._spinnman()
    cut = [True]

    class Cutting(spinnman.connection):  # type: ignore[name-defined,misc]
        def receive(self, timeout: float | None = None) -> bytes:
            packet: bytes = super().receive(timeout)
            if cut and len(packet) > 14:
                cut.clear()
                return packet[:15]
            return packet

    cutting = spinnman._replace(connection=Cutting)
    scene.monkeypatch.setattr(transceiver, "_spinnman", lambda: cutting)

    def during(server: SpallocServer) -> None:
        scene.job(server)
        assert not cut
        assert scene.frame(server).statistics.retries == 0

    assert scene.program.run(during) == 0


@cause
def batch(scene: Scene, said: Said) -> None:
    scene.refuse(async_bmp_controller, "BatchRun", RuntimeError("unthought of"), times=1)

    def during(server: SpallocServer) -> None:
        job_id = server.create_job(None, 3, owner="me", keepalive=None)
        scene.until(lambda: server.get_job_state(None, job_id)["state"] == JobState.destroyed)
        scene.job(server)

    assert scene.program.run(during) == 0
    assert "unthought of" in said()


@cause
def callback(scene: Scene, said: Said) -> None:
    def during(server: SpallocServer) -> None:
        def fail() -> None:
            raise RuntimeError("unthought of")

        server.controller.on_background_state_change = fail
        scene.job(server)

    assert scene.program.run(during) == 0
    assert "callback failed" in said()


@cause
def command(scene: Scene, said: Said) -> None:
    def during(server: SpallocServer) -> None:
        with Client(server.port) as client:
            client.send_line('{"command": "create_job", "args": [2.5], "kwargs": {"owner": "a"}}')
            assert "exception" in client.answer()
            assert client.call("version")

    assert scene.program.run(during) == 0


@cause
def question(scene: Scene, said: Said) -> None:
    scene.program.options = ["--metrics-port", "0"]
    scene.refuse(pulse.Pulse, "problems", RuntimeError("unthought of"))
    pages = scene.pages()

    def during(server: SpallocServer) -> None:
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{pages[0]}/health", timeout=PATIENCE)
        scene.alive(server)

    assert scene.program.run(during) == 0


def test_lines_that_nobody_reads_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the row of the log means by counting."""
    monkeypatch.setattr("spalloc_server._logs.line_writer.MOST_LINES", 0)
    writer = LineWriter("log", DailyFile("/dev/null", 1), str)

    writer.put("line")

    assert writer.dropped == 1
    assert writer.close(PATIENCE)
