"""``spalloc-history usage``, ``jobs``, ``job`` and ``board``."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from spalloc_server._history import show
from spalloc_server._history.database import Database
from spalloc_server._history.main import main
from tests.history.story import DAY, MARCH, Story, write


@pytest.fixture
def database(tmp_path: Path) -> str:
    story = Story()
    story.machine()
    story.life(1, 30.0, 7200.0, (0, 0, 2, 1))
    story.life(2, 90.0, 60.0, (0, 0, 1), owner="[bold]ben\x1b[2J")
    about: dict[str, Any] = {"machine": "m", "board": [0, 0, 1], "job": 2}
    story.tell("board out", **about, kind="power_on", text="power on refused")
    story.tell("report", **about, host="10.1.2.3", text="it hangs")
    story.created(3, 4, 2)
    where = tmp_path / "history.db"
    made = Database(str(where))
    write(made, story.events)
    made.close()
    return str(where)


def ask(database: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--database", database]) == 0
    return capsys.readouterr().out


def test_usage_is_a_table(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(database, capsys, "usage", "--since", "2026-03-01", "--until", "2026-03-02")

    ada, total = (
        next(line.split() for line in told.splitlines() if line.lstrip().startswith(name))
        for name in ("ada", "total")
    )
    assert ada[:4] == ["ada", "2", "12.0", "99.9%"]
    assert "█" in ada[-1]
    assert total[:3] == ["total", "3", "12.0"]
    assert "\x1b" not in told


def test_usage_by_day_has_bars(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(
        database, capsys, "usage", "--by", "day", "--since", "2026-02-28", "--until", "2026-03-02"
    )

    days = [
        line
        for line in told.splitlines()
        if line.strip().startswith("2026-0") and "to" not in line
    ]
    assert [("█" in line) for line in days] == [False, True]


def test_usage_leaves_off_rows(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(database, capsys, "usage", "--since", "2026-03-01", "--limit", "1")

    assert "and 1 more; --limit shows them" in told


def test_usage_is_json(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    since, until = str(MARCH), str(MARCH + DAY)

    told = json.loads(ask(database, capsys, "usage", "--json", "--since", since, "--until", until))

    assert told["rows"][0]["name"] == "ada"
    assert told["total"]["waits"]["jobs"] == 2


def test_jobs_are_a_table(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(database, capsys, "jobs")

    assert "2 x 1 at (0, 0)" in told
    assert "(0, 0, 1)" in told
    assert "[bold]ben\\x1b[2J" in told
    assert told.index("2 x 1 at") < told.index("(0, 0, 1)")


def test_jobs_are_json_and_filtered(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(
        ask(database, capsys, "jobs", "--json", "--machine", "m", "--board", "0,0,1")
    )

    assert [job["job"] for job in told] == [2, 1]
    assert len(json.loads(ask(database, capsys, "jobs", "--json", "--limit", "1"))) == 1


def test_a_job_is_told(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(database, capsys, "job", "2")

    for words in ("Job 2", "done", "by client 10.1.2.3", "it hangs", "Boards", "Reports"):
        assert words in told
    assert json.loads(ask(database, capsys, "job", "2", "--json"))["job"]["job"] == 2


def test_a_job_without_boards_is_told(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(database, capsys, "job", "3")

    assert "asked for  (2)" in told
    assert "Boards" not in told


def test_times_name_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert show.moment(0.0) == "1970-01-01 05:30:00 IST"
        assert show.day(0.0) == "1970-01-01"
        assert show.day(-1.0) == "1969-12-31"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_text_is_folded_where_there_is_no_room_and_numbers_stay_whole() -> None:
    columns = ("job", "created", "reason")
    rows = [("1", "2026-03-01 00:00:00 UTC", "no suitable machines are available")]
    out = io.StringIO()

    Console(file=out, width=50).print(show.table(None, columns, rows, ["job"]))

    head, first, *others = [line for line in out.getvalue().splitlines() if line.strip("─ ")]
    assert head.split() == ["job", "created", "reason"]
    assert first.split()[:4] == ["1", "2026-03-01", "00:00:00", "UTC"]
    assert " ".join(others).split()[-1] == "available"


@pytest.mark.parametrize(("columns", "width"), [(40, 80), (80, 80), (132, 132)])
def test_a_table_has_room_for_its_columns_on_any_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int, width: int
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))

    assert show.console().width == width


def test_times_may_have_a_zone(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    hour = ["--since", "2026-03-01T03:00+02:00", "--until", "2026-03-01T01:00:30Z"]

    assert json.loads(ask(database, capsys, "jobs", "--json", *hour)) == []
    assert show.moment(None) == ""


def test_a_job_that_is_not_there_is_said(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["job", "77", "--database", database]) == 1

    assert capsys.readouterr().err == "spalloc-history: there is no job 77\n"


def test_a_board_is_told(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(database, capsys, "board", "m", "0", "0", "1")

    for words in ("Faults", "still out", "power on refused", "it hangs"):
        assert words in told
    assert "No faults." in ask(database, capsys, "board", "m", "3", "0", "1")
    plain = json.loads(ask(database, capsys, "board", "m", "0", "0", "1", "--json"))
    assert plain.keys() == {"faults", "reports", "jobs"}


def test_a_board_of_an_unknown_machine_is_said(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["board", "n", "0", "0", "1", "--database", database]) == 1

    words = "spalloc-history: nothing is known of a machine 'n'; known are m\n"
    assert capsys.readouterr().err == words


@pytest.mark.parametrize("command", ["usage", "jobs", "export"])
@pytest.mark.parametrize("moment", ["1900-01-01", "9998-12-31T23:59:59"])
def test_any_time_that_is_taken_is_answered(
    database: str, capsys: pytest.CaptureFixture[str], command: str, moment: str
) -> None:
    ask(database, capsys, command, f"--until={moment}")


def test_a_database_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "--database", str(tmp_path / "none.db")]) == 1

    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["jobs", "--since", "yesterday"], "'yesterday' is no time"),
        (["jobs", "--since", "nan"], "'nan' is no time in the years 1900 to 9998"),
        (["usage", "--until", "inf"], "'inf' is no time in the years"),
        (["usage", "--since", "1e18"], "'1e18' is no time in the years"),
        (["jobs", "--board", "1,2"], "'1,2' is no board"),
        (["jobs", "--board", "1,2,\u00b2"], "is no board"),
        (["jobs", "--board", f"1,2,{2**63}"], "is no board"),
        (["jobs", "--limit", "0"], "'0' is not allowed, expected a whole number from 1 to"),
        (["usage", "--limit", "-1"], "'-1' is not allowed"),
        (["job", "x"], f"'x' is not allowed, expected a whole number from 0 to {2**63 - 1}"),
        (["job", f"{2**63}"], "is not allowed"),
        (["job", "1", "--state", "-1"], "'-1' is not allowed"),
        (["board", "m", "0", "0", f"{2**63}"], "is not allowed"),
    ],
)
def test_bad_options_are_said(
    words: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)

    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0 s"),
        (119.0, "119 s"),
        (3600.0, "60.0 min"),
        (9e3, "2.5 h"),
        (1e6, "11.6 d"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert show.duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "text"), [(0.0, ""), (1.0, "█" * 30), (2.0, "█" * 30), (0.05, "█▌")]
)
def test_bars(part: float, text: str) -> None:
    assert show.bar(part) == text


def test_bars_are_short_on_a_narrow_terminal() -> None:
    assert show.bar(1.0, 80) == "█" * 8
    assert show.bar(1.0, 100) == "█" * 30


def test_no_jobs_are_told_in_a_line(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(database, capsys, "jobs", "--owner", "nobody") == "No jobs.\n"
    assert ask(database, capsys, "board", "m", "3", "1", "2") == "No faults.\nNo jobs.\n"
    assert ask(database, capsys, "jobs", "--owner", "nobody", "--json") == "[]\n"


def test_a_table_for_a_pipe_that_nobody_reads_ends_as_other_programs_do(database: str) -> None:
    program = [sys.executable, "-m", "spalloc_server._history.main"]
    command = [*program, "jobs", "--database", database]
    with subprocess.Popen(["true"], stdin=subprocess.PIPE, text=True) as reader:
        reader.wait()
        done = subprocess.run(
            command, stdout=reader.stdin, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (141, "")
