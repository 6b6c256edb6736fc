"""Holding boards while a command runs or somebody thinks: ends that are seldom met."""

import io
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from spalloc_client._program import CommandError, Terminated
from spalloc_client.errors import ServerLostError
from spalloc_client.scripts import _hold, alloc
from spalloc_client.scripts._progress import Progress
from spalloc_client.states import JobState


class FakeJob:
    id = 7
    reason = None

    def __init__(self, *states: JobState | Exception) -> None:
        self._states = iter(states)

    @property
    def state(self) -> JobState:
        state = next(self._states)
        if isinstance(state, Exception):
            raise state
        return state


class FakeSession:
    reconnect_delay = 1.0

    def subscribe(self, *_: object) -> None:
        pass

    def connect(self) -> None:
        pass

    def offers(self, *_: str) -> bool:
        return False


class FakeGuard:
    """Looks in vain."""

    bell = None
    lost = True

    def look(self) -> float:
        return 60.0


class Said(Progress):
    def __init__(self) -> None:
        super().__init__(quiet=False)
        self.said: list[str] = []

    def say(self, text: str, even_if_quiet: bool = False) -> None:
        self.said.append(text)


def guard(said: Progress, *states: JobState | Exception) -> _hold.Guard:
    made: Any = _hold.Guard
    result: _hold.Guard = made(FakeJob(*states), FakeSession(), said)
    return result


class Stubborn:
    """A process that ends when it is killed."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def send_signal(self, number: int) -> None:
        self.heard.append(signal.Signals(number).name)

    def terminate(self) -> None:
        self.heard.append("terminated")

    def kill(self) -> None:
        self.heard.append("killed")

    def wait(self, timeout: float | None = None) -> None:
        if "killed" not in self.heard:
            raise subprocess.TimeoutExpired("x", timeout or 0)


# --- the guard ---


def test_a_lost_server_is_said_once_and_so_is_its_return() -> None:
    said = Said()
    lost = ServerLostError("gone")
    watching = guard(said, lost, lost, JobState.ready, JobState.ready)

    assert [watching.look() for _ in range(4)] == [1.0, 1.0, None, None]

    assert said.said == ["gone; trying again", "the server is back"]
    watching.bell.close()


def test_changes_are_said() -> None:
    said = Said()
    watching = guard(said, JobState.power, JobState.power, JobState.ready)

    assert [watching.look() for _ in range(3)] == [None, None, None]

    assert said.said == ["Job 7: its boards are being switched", "Job 7 is ready again"]
    watching.bell.close()


def test_a_job_that_the_server_has_forgotten_is_an_error() -> None:
    watching = guard(Said(), JobState.unknown)

    with pytest.raises(CommandError, match="the server does not know job 7 any more"):
        watching.look()
    watching.bell.close()


# --- the keyboard ---


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard input is a pipe; gives the end to type at."""
    read, write = os.pipe()
    with os.fdopen(read) as file:
        monkeypatch.setattr("sys.stdin", file)
        yield write
    os.close(write)


def test_without_standard_input_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)

    _hold.hold(FakeGuard())  # type: ignore[arg-type]


def test_what_is_typed_at_somebody_in_the_foreground_is_not_for_us(
    keyboard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    background = iter([True, True, False])
    pauses: list[float] = []
    monkeypatch.setattr(_hold, "_in_background", lambda: next(background))
    monkeypatch.setattr("time.sleep", pauses.append)
    os.write(keyboard, b"ls\n")

    _hold.hold(FakeGuard())  # type: ignore[arg-type]

    assert pauses == [0.5, 0.5]


# --- the command ---


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), Terminated(signal.SIGTERM)])
def test_a_signal_before_the_command_runs_ends_us_alone(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(_: object) -> None:
        raise failure

    monkeypatch.setattr(_hold, "_start", fail)

    with pytest.raises(type(failure)):
        _hold.run_command(["true"], FakeGuard(), Said())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strike", "status"), [(KeyboardInterrupt(), 130), (Terminated(signal.SIGHUP), 143)]
)
def test_a_signal_ends_the_command_that_runs(
    monkeypatch: pytest.MonkeyPatch, strike: BaseException, status: int
) -> None:
    def wait(*_: object) -> None:
        raise strike

    monkeypatch.setattr(_hold, "_wait", wait)
    monkeypatch.setattr(_hold, "_on_terminal", lambda: False)
    # As our commands do; else a shell's background programs would ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watching: Any = FakeGuard()

    try:
        assert _hold.run_command(["sleep", "1000"], watching, Said()) == status
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("terminal", "background", "heard"),
    [
        (False, False, ["SIGINT", "terminated", "killed"]),
        (True, True, ["SIGINT", "terminated", "killed"]),
        (True, False, ["terminated", "killed"]),  # heard Ctrl-C from the terminal itself
    ],
)
def test_a_command_that_will_not_end_is_killed_in_the_end(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, background: bool, heard: list[str]
) -> None:
    monkeypatch.setattr(_hold, "_on_terminal", lambda: terminal)
    monkeypatch.setattr(_hold, "_in_background", lambda: background)
    process: Any = Stubborn()

    _hold._interrupt(process)

    assert process.heard == heard


def test_after_the_boards_are_lost_only_the_command_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = Said()
    process: Any = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    looks = iter([None, None, 0])
    waited: list[list[object]] = []

    def select(files: list[object], *_: object) -> None:
        waited.append(files)

    monkeypatch.setattr("select.select", select)
    monkeypatch.setattr(process, "poll", lambda: next(looks))
    watching = guard(said, JobState.unknown)

    _hold._wait(process, watching, said)

    assert said.said == [
        "the server does not know job 7 any more; the command goes on without boards"
    ]
    assert [len(files) for files in waited] == [1, 1]
    watching.bell.close()
    process.stdin.close()
    monkeypatch.undo()
    assert process.wait(30) == 0


# --- progress ---


def test_progress_says_what_is_new_and_nothing_if_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for quiet in (True, False):
        with Progress(quiet) as progress:
            for _ in range(2):
                progress.waiting(7, JobState.queued, "first in the queue")
            progress.say("not if quiet")
            progress.say("always", even_if_quiet=True)

    assert capsys.readouterr().err.splitlines() == [
        "always",
        "Job 7: queued - first in the queue",
        "not if quiet",
        "always",
    ]


def test_on_a_terminal_progress_is_one_line_that_goes_away() -> None:
    terminal = io.StringIO()
    with Progress(quiet=False) as progress:
        progress._console = Console(file=terminal, force_terminal=True, width=30)
        progress.waiting(7, JobState.queued, "second in the queue, " * 9)
        progress.waiting(7, JobState.power, "3 boards")
        assert progress._status is not None
        assert str(progress._status.status) == "Job 7: power - 3 boards"

        progress.say("ready")

        assert progress._status is None
    assert terminal.getvalue().endswith("ready\n")


@pytest.mark.parametrize(
    ("keepalive", "when"),
    [
        (20.0, "the server will destroy it within 20 s"),
        (None, "it has no keepalive period, so it stays"),
    ],
)
def test_a_job_that_cannot_be_destroyed_is_said_with_what_becomes_of_it(
    keepalive: float | None, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Undying(FakeJob):
        alive = True

        def destroy(self) -> None:
            raise ServerLostError("gone")

    job: Any = Undying()
    job.keepalive = keepalive

    alloc._leave(job, False, Said())

    said = f"spalloc: job 7 could not be destroyed (gone); {when}\n"
    assert capsys.readouterr().err == said
