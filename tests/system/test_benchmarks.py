"""The benchmarks work, at the smallest size; how fast anything is is not looked at."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command_line, python_share, turn_profile
from benchmarks.load import request
from benchmarks.processes import BARE, ORIGINAL, OURS, Contestant
from benchmarks.results import Result, Work, table
from benchmarks.sites import Site

SMALL = ["--ours-alone", "--rounds", "1", "--seconds", "0.05", "--side", "2", "--settle", "0"]


def measure(tmp_path: Path, *works: str, options: list[str]) -> dict[str, dict[str, Any]]:
    file = tmp_path / "results.json"

    assert command_line.main([*options, "--json", str(file), *works]) == 0

    return {result["name"]: result for result in json.loads(file.read_text())}


def test_works_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    works = ["version@0", "where_is@0", "board_at@0", "list_jobs@0", "start", "memory", "tell"]

    results = measure(tmp_path, *works, options=[*SMALL, "--clients", "3"])

    assert set(results) == set(works)
    for result in results.values():
        assert result["ours"] is not None, result
        assert result["failures"] == {}
    bare = {name for name, result in results.items() if result["samples"]["bare"]}
    assert bare == {"version@0", "tell"}
    assert "where_is@0" in capsys.readouterr().out


def test_a_server_that_dies_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Contestant(ORIGINAL, (sys.executable, "-c", "raise SystemExit('worn out')"))
    monkeypatch.setattr(command_line, "original", lambda venv: broken)

    results = measure(tmp_path, "version@0", options=SMALL[1:])

    assert "worn out" in str(results["version@0"]["failures"])
    assert results["version@0"]["ours"] is not None
    assert "worn out" in capsys.readouterr().out


def test_works_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]

    assert len(names) == len(set(names)) > 30
    with pytest.raises(SystemExit) as status:
        command_line.main(["nonsense"])
    assert status.value.code == 2


def test_the_loop_is_profiled(capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--jobs", "2", "--clients", "2", "--seconds", "0.1", "--side", "2"]

    assert turn_profile.main(options) == 0

    out = capfd.readouterr().out
    assert "(run)" in out
    assert " turns, " in out


def test_what_a_command_costs_in_python_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(python_share, "_TURNS", 2)
    monkeypatch.setattr(python_share, "_ROUNDS", 2)

    assert python_share.main(["--clients", "3", "--jobs", "2"]) == 0

    lines = capfd.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["nothing", "version", "get_job_state", "where_is"]
    assert ["us each" in line for line in lines] == [False, True, True, True]


@pytest.mark.parametrize(
    ("more", "ours", "original", "middle", "reached"),
    [
        (True, [30.0, 20.0, 10.0], [10.0, 10.0, 10.0], 2.0, True),
        (True, [14.0, 10.0], [10.0, 10.0], 1.2, False),
        (False, [1.0, 2.0, 4.0], [8.0, 8.0, 8.0], 4.0, True),
    ],
)
def test_the_ratio_is_the_median_of_the_rounds(
    more: bool, ours: list[float], original: list[float], middle: float, reached: bool
) -> None:
    result = Result(Work("w", "work", "s", ratio=1.5, more=more))
    result.samples.update({OURS: ours, ORIGINAL: original})

    better = result.times_better()

    assert better is not None
    assert better.middle == pytest.approx(middle)
    assert result.reached() is reached
    assert ("MISSED" in table([result])) is not reached


def test_what_a_bare_loop_reaches_stands_below_the_table() -> None:
    result = Result(Work("w", "work", "/s", ratio=1.5, more=True, bare=True))
    result.samples.update({OURS: [120.0], ORIGINAL: [100.0], BARE: [160.0]})

    assert table([result]).splitlines()[-1] == "w: a bare loop 160 /s, 1.60 x (1.60 - 1.60)"
    assert result.reached() is False


def test_a_limit_counts_whatever_the_original_does() -> None:
    result = Result(Work("w", "work", "s", limit=1.0))
    result.samples[OURS] = [0.9, 1.1, 1.2]

    assert result.reached() is False
    result.samples[OURS] = [0.9, 0.8]
    assert result.reached() is True


def test_frames_are_where_the_configuration_has_them(tmp_path: Path) -> None:
    site = Site.of(4, 20)
    text = site.write(tmp_path).read_text()

    assert site.base in text
    assert len(site.bmps) == 10
    assert site.bmps[0] == site.base
    assert site.place(site.boards[24 * 5]) == (1, 0, 0)


def test_a_request_is_a_line() -> None:
    assert request("x", 1, a=None) == b'{"command": "x", "args": [1], "kwargs": {"a": null}}\n'
