"""The command line of ``spalloc-history``."""

import configparser
import json
import subprocess
import sys
from pathlib import Path

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


def test_a_reader_that_goes_away_ends_the_program_quietly() -> None:
    command = f"{sys.executable} -m spalloc_server._history.main traces batch | head -1"
    shell = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], check=False, capture_output=True, text=True
    )

    assert (shell.returncode, shell.stderr) == (141, "")
    assert json.loads(shell.stdout)["trace"] == "batch"


#: Runs the program where a module is not installed.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from spalloc_server._history.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("module", ["sqlalchemy", "alembic"])
def test_the_extra_is_named_if_it_is_missing(module: str) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT, module, *words]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    usage, traces = run("usage"), run("traces", "class", "--jobs", "1")

    assert usage.returncode == 1
    assert usage.stderr == (
        f"spalloc-history: {module} is not installed; it comes with the extra `history`: "
        "pip install 'spalloc_server[history]'\n"
    )
    assert (traces.returncode, traces.stderr) == (0, "")


def test_another_module_that_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise ModuleNotFoundError("No module named 'nonsense'", name="nonsense")

    monkeypatch.setattr("spalloc_server._history.traces_command.make_trace", missing)

    with pytest.raises(ModuleNotFoundError, match="nonsense"):
        main(["traces", "class"])


def test_the_unit_starts_the_program_with_options_that_it_has() -> None:
    unit = Path(__file__).parents[2] / "contrib" / "systemd" / "spalloc-history.service"
    settings = configparser.ConfigParser(strict=False, interpolation=None)
    settings.optionxform = str  # type: ignore[assignment,method-assign]  # keep the case
    settings.read_string(unit.read_text().replace("\\\n", " "))
    service = settings["Service"]
    program, command, *options = service["ExecStart"].split()[1:]

    assert (program, command, service["Type"]) == ("spalloc-history", "follow", "notify")
    with pytest.raises(SystemExit, match="2"):
        main([command, *options, "--no-such-option"])
    assert service["StateDirectoryMode"] == "0750"
    assert int(service["WatchdogSec"]) >= 3 * 30
    server = (unit.parent / "spalloc_server.service").read_text()
    for line in unit.read_text().partition("CapabilityBoundingSet=")[2].splitlines():
        assert line in {"", "ProcSubset=pid"} or line in server, line
