"""What `main` does with a server, whatever that is."""

from __future__ import annotations

import errno
import gc
import itertools
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import server as server_module
from spalloc_server._bmp import transceiver, wiring
from spalloc_server._programs import carrying, command_line, logs
from spalloc_server._programs.signals import StopSignals
from spalloc_server._saved.crash_points import CrashingDisk
from spalloc_server._wire.endpoints import Endpoint, Kind
from spalloc_server.server import main
from tests.support.notify_socket import NotifySocket


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Job logs go to a folder of the test's; the log's handlers are as before."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Stub:
    """Has only what `main` uses."""

    def __init__(self, calls: list[Any], alive: Callable[[], bool], given: dict[str, Any]) -> None:
        calls.append(given)
        self._calls = calls
        self._alive = alive

    def is_alive(self) -> bool:
        self._calls.append("alive?")
        return self._alive()

    def stop_and_join(self) -> None:
        self._calls.append("stop")


def run_stub(
    monkeypatch: pytest.MonkeyPatch, alive: Callable[[], bool], *args: str
) -> tuple[int, list[Any]]:
    calls: list[Any] = []
    monkeypatch.setattr(server_module, "SpallocServer", lambda **given: Stub(calls, alive, given))
    return main(list(args)), calls


def interrupt() -> bool:
    raise KeyboardInterrupt


def test_the_name_is_passed_as_typed_with_the_fixed_options_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, calls = run_stub(monkeypatch, interrupt, "./no/../such.cfg")

    assert status == 0
    assert calls == [
        {"config_filename": "./no/../such.cfg", "cold_start": False, "port": 22244},
        "alive?",
        "stop",
    ]


def test_a_loop_that_ended_by_a_fault_is_no_clean_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Stub, "ended_by_fault", True, raising=False)

    status, calls = run_stub(monkeypatch, lambda: False, "x.cfg")

    assert status == 2
    assert calls[1:] == ["alive?", "stop"]
    assert "the loop ended by itself" in caplog.text


@pytest.mark.parametrize("port", ["--port", "-p"])
def test_the_fixed_options(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    _, calls = run_stub(monkeypatch, interrupt, "--cold-start", port, "7", "-q", "x.cfg")

    assert calls[0] == {"config_filename": "x.cfg", "cold_start": True, "port": 7}


@pytest.mark.parametrize("place", range(3))
def test_the_configuration_stands_anywhere_among_options(
    monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    line = [["--cold-start"], ["--port", "7"]]
    line.insert(place, ["x.cfg"])

    _, calls = run_stub(monkeypatch, interrupt, *itertools.chain(*line))

    assert calls[0] == {"config_filename": "x.cfg", "cold_start": True, "port": 7}


def test_further_options_are_passed_only_when_given(monkeypatch: pytest.MonkeyPatch) -> None:
    _, calls = run_stub(
        monkeypatch,
        interrupt,
        *("--durability", "always", "--state-dir", "d", "--stop-timeout", "3", "x.cfg"),
    )

    assert "audit_dir" not in calls[0]
    assert {name: calls[0][name] for name in ("durability", "state_dir", "stop_timeout")} == {
        "durability": "always",
        "state_dir": "d",
        "stop_timeout": 3.0,
    }


def test_places_where_clients_connect_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--bind 127.0.0.1 --bind ::1 --unix-socket s --proxy /run/p --proxy [::1]:9000"
    _, calls = run_stub(monkeypatch, interrupt, *line.split(), "--proxy-group", "haproxy", "x.cfg")

    assert calls[0]["bind"] == [Endpoint(Kind.tcp, "127.0.0.1"), Endpoint(Kind.tcp, "::1")]
    assert calls[0]["more_endpoints"] == [
        Endpoint(Kind.unix, str(Path("s").absolute())),
        Endpoint(Kind.proxy, "/run/p", group="haproxy"),
        Endpoint(Kind.proxy, "::1", 9000, group="haproxy"),
    ]


@pytest.mark.parametrize(("word", "given"), [("5", 5), ("clock", "clock")])
def test_the_first_id_is_a_number_or_the_clock(
    monkeypatch: pytest.MonkeyPatch, word: str, given: int | str
) -> None:
    _, calls = run_stub(monkeypatch, interrupt, "--first-id", word, "x.cfg")

    assert calls[0]["first_id"] == given


def test_a_server_that_has_ended_is_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False])

    status, calls = run_stub(monkeypatch, lambda: next(answers), "x.cfg")

    assert (status, calls[1:]) == (0, ["alive?", "alive?", "stop"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def alive() -> bool:
        signal.raise_signal(number)
        return True

    status, calls = run_stub(monkeypatch, alive, "x.cfg")

    assert (status, calls[1:]) == (0, ["alive?", "stop"])
    after = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before


def test_a_signal_while_it_starts_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Starting(Stub):
        def __init__(self, **given: Any) -> None:
            super().__init__([], lambda: True, given)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(server_module, "SpallocServer", Starting)

    assert main(["x.cfg"]) == 0


def test_main_may_run_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run_stub(monkeypatch, interrupt, "x.cfg")[0])
    )
    thread.start()
    thread.join()

    assert results == [0]


def test_bad_arguments_are_argparse_s_matter() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--no-such-option"])

    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("--real-time x.cfg", "--real-time goes with --simulate"),
        ("--fault mute x.cfg", "--fault goes with --simulate"),
        ("--job-log-days x x.cfg", "'x' is not a whole number of at least 1"),
        ("--job-log-days 0 x.cfg", "'0' is not a whole number of at least 1"),
        ("--stop-timeout soon x.cfg", "'soon' is not a number of seconds, 0 or more"),
        ("--stop-timeout inf x.cfg", "'inf' is not a number of seconds, 0 or more"),
        ("--port x x.cfg", "'x' is not a port, 0 to 65535"),
        ("--crash-at noon x.cfg", "'noon'"),
        ("--first-id 0 x.cfg", "'0' is not clock, nor a number from 1 to 2147483647"),
        ("--first-id x x.cfg", "'x' is not clock"),
        ("--first-id 2147483648 x.cfg", "'2147483648' is not clock"),
        ("--bind a,b x.cfg", "'a,b' is no address: expected one, such as 10.1.0.1"),
        ("--proxy 9000 x.cfg", "expected an absolute path, or ADDRESS:PORT"),
    ],
)
def test_a_bad_argument_is_named(
    capsys: pytest.CaptureFixture[str], words: str, error: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words.split())

    assert caught.value.code == 2
    assert error in capsys.readouterr().err


def test_a_point_to_crash_at_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, calls = run_stub(monkeypatch, interrupt, "--crash-at", "before-reply", "x.cfg")

    assert isinstance(calls[0]["disk"], CrashingDisk)


@pytest.mark.parametrize(
    ("words", "wait"),
    [
        ("--simulate", 0.0),
        ("--simulate --real-time", 5.0),
        ("--simulate --fpga-wait 3", 3.0),
        ("--fpga-wait 2", 2.0),
        ("--job-log-days 3", 5.0),
    ],
)
def test_boards_are_waited_for_as_the_options_say(
    monkeypatch: pytest.MonkeyPatch, words: str, wait: float
) -> None:
    waits = []

    def look() -> bool:
        waits.append(wiring.fpga_wait)
        return False

    status, _ = run_stub(monkeypatch, look, *words.split(), "-q", "x.cfg")

    assert (status, waits) == (0, [wait])


def test_a_bad_fault_of_the_simulation_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--simulate", "--fault", "frame nap", "x.cfg"]) == 1

    assert "--fault 'frame nap': " in capsys.readouterr().err


def test_a_port_for_metrics_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert main(["--metrics-port", str(port), "x.cfg"]) == 1

    said = capsys.readouterr().err
    assert f"--metrics-port: cannot listen on 127.0.0.1 port {port}: " in said


def test_the_service_manager_is_told_why_a_start_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(carrying, "_PATIENCE", 0.01)
    with NotifySocket(tmp_path / "notify") as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.environ["NOTIFY_SOCKET"])

        assert main([str(tmp_path / "nothing.cfg"), "--port", "0"]) == 1

        status = systemd.received()[-1]
    assert status.startswith(f"STATUS={tmp_path / 'nothing.cfg'}: cannot be read (No such file")


def test_metrics_without_their_library_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    assert main(["--metrics-port", "0", "x.cfg"]) == 1

    assert "--metrics-port needs prometheus_client: " in capsys.readouterr().err


def test_without_a_place_for_the_job_log_the_server_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spalloc_jobs.log").mkdir()

    status, calls = run_stub(monkeypatch, interrupt, "x.cfg")

    assert (status, calls[1:]) == (0, ["alive?", "stop"])
    assert "no job log: spalloc_jobs.log: Is a directory" in caplog.text


def test_the_job_log_is_where_the_option_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stub(monkeypatch, interrupt, "x.cfg")
    assert [path.name for path in tmp_path.iterdir()] == ["spalloc_jobs.log"]

    run_stub(monkeypatch, interrupt, "--job-log", "mine.log", "x.cfg")
    assert (tmp_path / "mine.log").exists()

    assert run_stub(monkeypatch, interrupt, "--job-log", "no/such/folder", "x.cfg")[0] == 1
    assert "no/such/folder" in capsys.readouterr().err


def test_frames_yield_to_the_loop_soon_while_the_program_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = sys.getswitchinterval()
    seen: list[float] = []

    def look() -> bool:
        seen.append(sys.getswitchinterval())
        return False

    run_stub(monkeypatch, look, "x.cfg")

    assert seen[0] < before
    assert sys.getswitchinterval() == before


def test_collections_of_garbage_pass_by_the_objects_of_the_start_while_the_program_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def look() -> bool:
        seen.append(gc.get_freeze_count())
        return False

    assert gc.get_freeze_count() == 0
    run_stub(monkeypatch, look, "x.cfg")

    assert seen[0] > 10_000
    assert gc.get_freeze_count() == 0


def test_a_log_that_cannot_be_set_up_ends_the_start_with_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(logs, "set_up", refuse)

    assert run_stub(monkeypatch, interrupt, "x.cfg") == (2, [])

    said = capsys.readouterr().err
    assert said == "spalloc_server: nothing can be logged: can't start new thread\n"


def test_a_lack_of_descriptors_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(command_line, "StopSignals", refuse)

    assert run_stub(monkeypatch, interrupt, "x.cfg") == (2, [])

    said = capsys.readouterr().err
    assert said == "spalloc_server: failed: no file descriptors left (EMFILE)\n"


def test_faults_of_the_main_thread_are_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(StopSignals):
        def wait(self, seconds: float) -> bool:
            raise OSError("unthought of")

    monkeypatch.setattr(command_line, "StopSignals", Broken)
    monkeypatch.setattr(command_line, "_SECONDS_BETWEEN_LOOKS", 0.0)
    looks = iter([True] * 5)

    status, calls = run_stub(monkeypatch, lambda: next(looks, False), "x.cfg")

    assert (status, calls[-1]) == (0, "stop")
    assert caplog.text.count("the main thread met a fault") == 1


def test_a_start_that_fails_late_waits_for_no_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried: list[bool] = []
    monkeypatch.setattr(Stub, "hurry_up", lambda _: hurried.append(True), raising=False)

    def refuse() -> None:
        raise ImportError("No module named 'spinnman'")

    monkeypatch.setattr(transceiver, "prepare", refuse)

    status, calls = run_stub(monkeypatch, interrupt, "x.cfg")

    assert (status, calls[1:], hurried) == (2, ["stop"], [True])
