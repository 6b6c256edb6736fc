"""The commands in a terminal: live screens, keys, sizes, colours, and how they leave it."""

import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from spalloc_client import _watch
from spalloc_client._watch import Bell

from tests.fake_server import HANG, FakeServer
from tests.screen import Terminal

UNICODE_TO_ASCII = str.maketrans("\u2571\u2572\u2581\u2573", "/\\_#")

WATCHING = [
    "spalloc-ps -w",
    "spalloc-machine --watch",
    "spalloc-machine demo -w",
    "spalloc-job 1 -w",
]


def words(server: FakeServer, line: str) -> list[str]:
    name, *rest = line.split()
    return [name, "-H", "127.0.0.1", "-P", str(server.port), *rest]


def has(text: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(text in line for line in lines)


@pytest.fixture
def busy(server: FakeServer) -> FakeServer:
    server.add_job(owner="ann")
    server.add_job(owner="bob", boards=[[1, 0, z] for z in range(3)])
    return server


@pytest.mark.parametrize("line", WATCHING)
@pytest.mark.parametrize("ending", [b"q", b"Q", b"\x03"])
def test_a_live_screen_ends_on_q_and_ctrl_c_and_leaves_the_terminal_as_it_was(
    busy: FakeServer, line: str, ending: bytes
) -> None:
    with Terminal(words(busy, line), struck=ending == b"\x03") as terminal:
        terminal.wait_for(has("q quits"))
        assert terminal.screen.alternate
        assert not terminal.screen.cursor_shown

        terminal.press(ending)

        assert terminal.wait_for_end() == 0
        assert terminal.sane()
        assert terminal.screen.lines() == [""] * 24


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_live_screen_that_is_terminated_leaves_the_terminal_as_it_was(
    busy: FakeServer, number: signal.Signals
) -> None:
    with Terminal(words(busy, "spalloc-ps -w"), struck=True) as terminal:
        terminal.wait_for(has("q quits"))

        terminal.process.send_signal(number)

        assert terminal.wait_for_end() == 128 + number
        assert terminal.sane()


def test_a_live_screen_follows_changes_without_clearing(busy: FakeServer) -> None:
    with Terminal(words(busy, "spalloc-ps -w")) as terminal:
        terminal.wait_for(has("q quits"))
        busy.change(1, state=2)
        terminal.wait_for(has("power"))
        busy.destroy(2, None)

        lines = terminal.wait_for(lambda lines: not has("bob")(lines))

        assert lines[0].split()[:5] == ["ID", "State", "Power", "Boards", "Machine"]
        assert lines[2:-1] == [""] * 21
        assert terminal.screen.clears == 0


def test_the_map_in_a_terminal_counts_as_the_machine_does(busy: FakeServer) -> None:
    with Terminal(words(busy, "spalloc-machine demo -w")) as terminal:
        lines = terminal.wait_for(has("q quits"))

        picture = "\n".join(lines[6:17]).translate(UNICODE_TO_ASCII)
        assert (picture.count("A"), picture.count("B"), picture.count(".")) == (1, 3, 30)
        assert picture.count("#") == 5
        assert terminal.screen.colours > 0


def test_a_live_screen_adapts_to_the_terminals_size(busy: FakeServer) -> None:
    with Terminal(words(busy, "spalloc-machine demo -w"), 80, 24) as terminal:
        terminal.wait_for(has("q quits"))

        terminal.resize(20, 12)

        lines = terminal.wait_for(lambda lines: lines[11].startswith("q quits"))
        assert all(len(line) <= 20 for line in lines)
        terminal.resize(120, 30)
        lines = terminal.wait_for(lambda lines: lines[29].startswith("q quits"))
        assert "\u2571 A \u2572" in "\n".join(lines)


def test_a_live_screen_scrolls(busy: FakeServer) -> None:
    for number in range(60):
        busy.add_job(owner=f"owner{number:02}")
    with Terminal(words(busy, "spalloc-ps -w"), 100, 10) as terminal:
        terminal.wait_for(has("lines 1-9 of 63"))
        for keys, shown in (
            (b"\x1b[B", "lines 2-10"),
            (b"jjk", "lines 3-11"),
            (b" ", "lines 11-19"),
            (b"\x1b[5~", "lines 3-11"),
            (b"G", "lines 55-63"),
            (b"\x1b[B\x1b[A", "lines 54-62"),
            (b"g", "lines 1-9"),
            (b"k", "lines 1-9"),
        ):
            terminal.press(keys)
            terminal.wait_for(has(shown))


def test_a_live_screen_waits_for_a_lost_server(busy: FakeServer) -> None:
    with open(".spalloc", "w", encoding="utf-8") as file:  # noqa: PTH123 (relative on purpose)
        file.write("[spalloc]\nreconnect_delay = 0.05\ntimeout = 3\n")
    with Terminal(words(busy, "spalloc-ps -w")) as terminal:
        terminal.wait_for(has("q quits"))

        busy.stop()
        lines = terminal.wait_for(has("trying again"))
        assert has("ann")(lines)
        busy.start()

        terminal.wait_for(has("q quits"))


def test_ctrl_z_gives_the_terminal_back_for_a_while(busy: FakeServer) -> None:
    with Terminal(words(busy, "spalloc-ps -w")) as terminal:
        terminal.wait_for(has("q quits"))
        # Nobody continues the orphan of a session, so the kernel does not stop it either:
        # it goes through giving back and taking again without a pause.
        terminal.press(b"\x1a")
        terminal.wait_for(lambda _: terminal.screen.given_back == 1)
        terminal.wait_for(has("q quits"))
        terminal.press(b"q")

        assert terminal.wait_for_end() == 0
        assert terminal.sane()


def test_no_color_is_respected(busy: FakeServer) -> None:
    with Terminal(words(busy, "spalloc-machine demo"), NO_COLOR="1") as terminal:
        assert terminal.wait_for_end() == 0
        assert terminal.screen.styles == 0
        assert has("A  job 1")(terminal.screen.lines())


def test_no_color_is_respected_by_live_screens(busy: FakeServer) -> None:
    with Terminal(words(busy, "spalloc-machine -w demo"), NO_COLOR="1") as terminal:
        terminal.wait_for(has("q quits"))
        terminal.press(b"q")

        assert terminal.wait_for_end() == 0
        assert terminal.screen.styles == 0
        assert terminal.sane()


@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"TERM": "linux"}])
def test_a_poor_terminal_gets_plain_ascii(
    busy: FakeServer, environment: dict[str, Any]
) -> None:
    if "LC_ALL" in environment:
        environment = {**environment, "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    with Terminal(words(busy, "spalloc-machine demo"), 80, 24, **environment) as terminal:
        assert terminal.wait_for_end() == 0

        text = "\n".join(terminal.screen.lines())
        assert text.isascii()
        assert "/ A \\___/" in text


def test_a_dumb_terminal_gets_no_sequences_at_all(busy: FakeServer) -> None:
    with Terminal(words(busy, "spalloc-machine demo"), TERM="dumb") as terminal:
        assert terminal.wait_for_end() == 0
        assert terminal.screen.colours == 0


def test_a_dumb_terminal_has_a_line_of_its_own_for_the_prompt_after_ctrl_c(
    busy: FakeServer,
) -> None:
    line = words(busy, "spalloc-machine demo --watch")
    with Terminal(line, struck=True, TERM="dumb") as terminal:
        terminal.wait_for(has("dead link"))

        terminal.press(b"\x03")

        assert terminal.wait_for_end() == 0
        assert terminal.screen.at_line_start()


@pytest.mark.parametrize("screen", [True, False])
def test_only_without_a_screen_does_an_interrupt_begin_a_line(
    screen: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    session: Any = SimpleNamespace(listen=lambda bell: nullcontext())

    def draw() -> list[str]:
        raise KeyboardInterrupt

    _watch.watch(Console(file=io.StringIO(), force_terminal=screen), session, draw)

    assert capsys.readouterr().err == "\n" * (not screen)


def test_a_narrow_terminal_wraps_the_reason_for_waiting(server: FakeServer) -> None:
    server.instant = False
    with Terminal(words(server, "spalloc --owner me"), 20, struck=True) as terminal:
        terminal.wait_for(lambda lines: "Job 1: queued - next on demo" in _joined(lines))
        server.change(1, state=2, boards=[[0, 0, 0]], allocated_machine_name="demo")
        lines = terminal.wait_for(
            lambda lines: "Job 1: power - powering 1 board of demo" in _joined(lines)
        )
        assert "queued" not in _joined(lines)

        terminal.press(b"\x03")

        assert terminal.wait_for_end() == 130
        assert terminal.screen.at_line_start()


def _joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def test_progress_is_one_changing_line_and_ctrl_c_ends_it(server: FakeServer) -> None:
    server.instant = False
    line = "spalloc --owner me"
    with Terminal(words(server, line), struck=True) as terminal:
        terminal.wait_for(has("Job 1: queued - next on demo"))
        server.change(1, state=2, boards=[[0, 0, 0]], allocated_machine_name="demo")
        lines = terminal.wait_for(has("Job 1: power - powering 1 board of demo"))
        assert not has("queued")(lines)

        terminal.press(b"\x03")

        assert terminal.wait_for_end() == 130
        assert terminal.sane()
        assert terminal.screen.at_line_start()
    assert server.reasons == {1: None}


@pytest.mark.parametrize("key", [b"\r", b"\x03", b"\x04"])
def test_holding_ends_with_enter_and_ctrl_c(server: FakeServer, key: bytes) -> None:
    with Terminal(words(server, "spalloc --owner me"), struck=key == b"\x03") as terminal:
        lines = terminal.wait_for(has("Enter or Ctrl-C to destroy the job"))
        assert has("Hostname: board-0")(lines)
        server.wait_heard("notify_job", 2)

        terminal.press(key)

        assert terminal.wait_for_end() == 0
        assert terminal.sane()
        assert terminal.screen.at_line_start()
    assert server.reasons == {1: None}


def test_after_ctrl_c_the_prompt_has_a_line_of_its_own(server: FakeServer) -> None:
    server.behave["version"] = lambda: HANG
    with Terminal(words(server, "spalloc-ps"), struck=True) as terminal:
        server.wait_heard("version")

        terminal.press(b"\x03")

        assert terminal.wait_for_end() == 130
        assert terminal.screen.lines()[0] == "^C"
        assert terminal.screen.at_line_start()


def test_a_screen_without_a_keyboard_takes_only_what_is_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    terminal = io.StringIO()
    bell = Bell()

    with _watch._Screen(Console(file=terminal, force_terminal=True), bell) as screen:
        screen.update(["news"])

    assert "news" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[?1049l")
    bell.close()


def test_a_live_screen_without_a_keyboard_still_follows_changes(busy: FakeServer) -> None:
    no_keyboard = "sys.stdin = open('/dev/null')"
    with Terminal(words(busy, "spalloc-ps -w"), before=no_keyboard, struck=True) as terminal:
        terminal.wait_for(has("ready"))

        busy.change(1, state=2)

        terminal.wait_for(has("power"))
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait_for_end() == 128 + signal.SIGTERM
        assert terminal.sane()


def test_a_live_job_asks_for_its_machine_once(busy: FakeServer) -> None:
    with Terminal(words(busy, "spalloc-job 1 -w")) as terminal:
        terminal.wait_for(has("State: ready"))

        busy.change(1, state=2)

        terminal.wait_for(has("State: power"))
    assert len(busy.calls("get_job_machine_info")) == 1


def test_in_a_pipe_a_lost_server_is_said_and_what_is_the_same_is_not(busy: FakeServer) -> None:
    Path(".spalloc").write_text("[spalloc]\nreconnect_delay = 0.02\ntimeout = 3\n")
    with piped(busy, "spalloc-job 1 -w") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "           Job: 1\n"
        busy.wait_heard("notify_job")
        busy.stop()
        assert "trying again" in process.stderr.readline()
        drawn = len(busy.calls("list_jobs"))
        busy.start()
        busy.wait_heard("list_jobs", drawn + 1)  # draws the same again
        busy.destroy(1, "enough")

        rest = process.stdout.read()

        assert rest.count("Job: 1") == 1
        assert rest.endswith("\n   Job: 1\n State: destroyed\nReason: enough\n")
        assert process.wait(30) == 0


@contextmanager
def piped(server: FakeServer, line: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command with pipes for a terminal."""
    name, *rest = words(server, line)
    module = f"spalloc_client.scripts.{name.removeprefix('spalloc-')}"
    with subprocess.Popen(
        [sys.executable, "-m", module, *rest], stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_live_screen_in_a_pipe_prints_each_change(busy: FakeServer) -> None:
    with piped(busy, "spalloc-job 1 -w") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "           Job: 1\n"
        busy.wait_heard("notify_job")
        busy.destroy(1, "enough")

        rest = process.stdout.read()

        assert rest.endswith("\n   Job: 1\n State: destroyed\nReason: enough\n")
        assert "\x1b" not in rest
        assert process.wait(30) == 0
