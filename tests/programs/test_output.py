"""How a program that prints ends when nobody can read it."""

import io
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from spalloc_server._programs import output

PRINT = "from spalloc_server._programs.output import printing\nimport sys\n"


def run(body: str, stdout: IO[str] | None, close: bool = False) -> tuple[int, str]:
    """Run a program whose body prints; with its standard output closed if asked."""
    program = f"{PRINT}def body():\n    {body}\n    return 3\nsys.exit(printing('prog', body))"
    command = [sys.executable, "-c", program]
    if close:
        command = ["sh", "-c", 'exec "$0" "$@" >&-', *command]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


def test_the_status_is_the_bodys(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.printing("prog", lambda: print("text") or 7) == 7

    assert capsys.readouterr().out == "text\n"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_is_met_as_shells_do(tmp_path: Path, lines: int) -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE, text=True) as reader:
        reader.wait()

        assert run(f"print('line\\n' * {lines})", reader.stdin) == (141, "")


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        assert run("print('line')", full) == (1, "prog: [Errno 28] No space left on device\n")


def test_a_closed_output_is_no_output() -> None:
    assert run("print('line')", None, close=True) == (3, "")


@pytest.mark.parametrize("act", ["sys.stdout.close()", "sys.stdout = None"])
def test_an_output_that_the_body_closed_is_no_fault_of_the_program(act: str) -> None:
    assert run(act, None) == (3, "")


@pytest.mark.parametrize("act", ["sys.stderr.close()", "sys.stderr = None"])
def test_an_interrupt_without_standard_error_is_still_told_by_the_status(act: str) -> None:
    assert run(f"{act}; raise KeyboardInterrupt", None) == (130, "")


def test_help_into_a_pipe_that_nobody_reads() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE, text=True) as reader:
        reader.wait()

        assert run("print('usage'); raise SystemExit(0)", reader.stdin) == (141, "")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_the_terminal_cannot_show_are_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))

    assert output.printing("prog", lambda: print("mü \ud800") or 0) == 0

    shown = b"m\xc3\xbc" if encoding == "utf-8" else b"m\\xfc"
    assert written.getvalue() == shown + b" \\ud800\n"


def test_complaints_fit_any_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.complain("no mü \ud800")

    assert capsys.readouterr().err == "no m\\xfc \\ud800\n"


def test_complaints_that_nobody_reads_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    output.complain("nobody")

    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        output.complain("full")
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space"):
            full.close()


@pytest.mark.parametrize(("terminal", "told"), [(True, "\n"), (False, "")])
def test_an_interrupt_ends_it_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    told: str,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)

    def body() -> int:
        raise KeyboardInterrupt

    assert output.printing("prog", body) == 130

    assert capsys.readouterr().err == told
