"""The command line of ``spalloc-history``."""

import json
import subprocess
import sys

import pytest

from spalloc_server import __version__
from spalloc_server._history.main import main


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])

    assert capsys.readouterr().out == f"spalloc-history {__version__}\n"


def test_traces_are_written_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["traces", "class", "--seed", "3", "--jobs", "4", "--load", "0.5"]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (lines[0]["trace"], lines[0]["seed"], lines[0]["load"]) == ("class", 3, 0.5)
    assert len(lines) == 5


def test_a_trace_that_cannot_be_made_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["traces", "class", "--jobs", "0"]) == 2

    assert capsys.readouterr().err == (
        "spalloc-history traces: number of jobs is 0, it must be at least 1\n"
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m spalloc_server._history.main traces batch | head -1"
    shell = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], check=False, capture_output=True, text=True
    )

    assert (shell.returncode, shell.stderr) == (0, "")
    assert json.loads(shell.stdout)["trace"] == "batch"
