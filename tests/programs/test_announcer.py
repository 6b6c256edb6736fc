import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server._places import Frame
from spalloc_server._programs import announcer as _announcer
from spalloc_server._programs.announcer import Announcer
from spalloc_server._programs.sdnotify import ServiceManager
from spalloc_server.server import SpallocServer
from tests.support.notify_socket import NotifySocket
from tests.support.simulated_server import PATIENCE, Client, copy_of_example, simulated_server


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path / "notify") as listening:
        yield listening


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SpallocServer]:
    with simulated_server(copy_of_example("frame-24-boards.cfg", tmp_path)) as running:
        yield running


def test_a_server_is_announced_with_what_it_serves(
    server: SpallocServer, systemd: NotifySocket
) -> None:
    Announcer(server, ServiceManager(systemd.environ))

    assert systemd.received() == [
        "READY=1",
        f"STATUS=Port {server.port}: 1 machine, 0 clients, 0 jobs (0 queued)",
    ]


def test_the_status_follows_the_server(
    server: SpallocServer, systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_announcer, "_SECONDS_BETWEEN_STATUS", 0.0)
    announcer = Announcer(server, ServiceManager(systemd.environ))
    server.controller.upkeep.hold_boards("frame", [(0, 0, 0)], "smells")
    server.create_job(None, owner="me")
    systemd.received()

    announcer.look()
    announcer.look()

    port = server.port
    assert systemd.received() == [
        f"STATUS=Port {port}: 1 machine, 0 clients, 1 job (0 queued), 1 board quarantined"
    ]


def test_the_end_is_told(server: SpallocServer, systemd: NotifySocket) -> None:
    announcer = Announcer(server, ServiceManager(systemd.environ))
    systemd.received()

    announcer.stopping()
    announcer.stopped()

    told = systemd.received()
    assert told == ["STOPPING=1", "STATUS=Stopping: waiting for hardware", "STATUS=Stopped"]


def test_a_busy_server_says_so(
    server: SpallocServer, systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.controller.overview, "census", lambda timeout: None)

    Announcer(server, ServiceManager(systemd.environ))

    assert "STATUS=Busy" in systemd.received()


def test_disk_trouble_is_the_status(server: SpallocServer, systemd: NotifySocket) -> None:
    server.store._trouble.met("cannot write the journal", OSError(28, "No space left on device"))

    Announcer(server, ServiceManager(systemd.environ))

    assert any("No space left on device" in line for line in systemd.received())


def test_a_reload_is_told_from_beginning_to_end(
    server: SpallocServer, systemd: NotifySocket
) -> None:
    announcer = Announcer(server, ServiceManager(systemd.environ))
    systemd.received()

    server._reload_config = True
    announcer.look()
    begun = systemd.received()
    with Client(server.port) as client:
        client.call("version")
        client.call("version")
    assert server.reloads == 1
    announcer.look()
    announcer.look()

    assert begun[0] == "RELOADING=1" or begun == []
    ended = begun + systemd.received()
    assert [line.partition("=")[0] for line in ended] == [
        "RELOADING",
        "MONOTONIC_USEC",
        "STATUS",
        "READY",
        "STATUS",
    ]


def reload(server: SpallocServer) -> None:
    server._reload_config = True
    with Client(server.port) as client:
        client.call("version")
        client.call("version")


def test_a_refused_configuration_counts_as_such(server: SpallocServer) -> None:
    Path(server.configuration_file).write_text("configuration = 1\n")

    reload(server)

    assert (server.reloads, server.failed_reloads) == (1, 1)


def test_a_refused_configuration_is_part_of_the_status_until_one_is_loaded(
    server: SpallocServer, systemd: NotifySocket
) -> None:
    announcer = Announcer(server, ServiceManager(systemd.environ))
    config = Path(server.configuration_file)
    good = config.read_text()
    refused = "changed configuration refused"
    assert refused not in " ".join(systemd.received())

    config.write_text("configuration = 1\n")
    reload(server)
    announcer.look()
    broken = systemd.received()
    config.write_text(good)
    reload(server)
    announcer.look()
    mended = systemd.received()

    assert broken[-2] == "READY=1"
    assert broken[-1].endswith(f"0 jobs (0 queued), {refused}")
    assert mended[-2] == "READY=1"
    assert refused not in mended[-1]


def test_the_watchdog_is_fed_twice_in_its_period(
    server: SpallocServer, systemd: NotifySocket
) -> None:
    manager = ServiceManager(systemd.environ | {"WATCHDOG_USEC": "2000000"})

    announcer = Announcer(server, manager)

    assert announcer.seconds_between_looks == 0.5
    announcer.look()
    announcer.look()
    assert systemd.received().count("WATCHDOG=1") == 1


def test_the_program_tells_its_whole_life(tmp_path: Path, systemd: NotifySocket) -> None:
    config = copy_of_example("frame-24-boards.cfg", tmp_path)
    environ = os.environ | systemd.environ | {"WATCHDOG_USEC": "400000"}
    program = subprocess.Popen(
        [sys.executable, "-m", "spalloc_server", "--simulate", "--port", "0", "-q", str(config)],
        cwd=tmp_path,
        env=environ,
    )
    try:
        assert "READY=1" in systemd.wait_for("READY=1")
        systemd.wait_for("WATCHDOG=1")
        program.send_signal(signal.SIGHUP)
        systemd.wait_for("RELOADING=1")
        systemd.wait_for("READY=1")
        program.send_signal(signal.SIGTERM)
        systemd.wait_for("STOPPING=1")
        assert program.wait(PATIENCE) == 0
    finally:
        program.kill()
        program.wait()


def test_frames_that_do_not_answer_are_part_of_the_status(
    server: SpallocServer, systemd: NotifySocket
) -> None:
    frames = server.controller._bmp_controllers["frame"]
    bmp = frames[Frame((0, 0))]
    try:
        frames[Frame((0, 0))] = type("Silent", (), {"hostname": "somewhere", "answering": False})()

        Announcer(server, ServiceManager(systemd.environ))
    finally:
        frames[Frame((0, 0))] = bmp

    assert any("1 frame not answering" in line for line in systemd.received())
