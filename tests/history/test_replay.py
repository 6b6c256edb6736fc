"""Past jobs, run again with another scheduling."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._history.database import Database
from spalloc_server._history.main import main
from spalloc_server._history.past_jobs import PastError, read_past
from spalloc_server._history.replay import Order
from tests.history.logs import CONFIGURATION, ORIGINALS, OURS, OURS_1_0
from tests.history.story import Story, write

#: A machine of 4 x 2 triads: a row is taken, a block of 3 x 2 waits, a board waits behind it.
QUEUE = """\
2026-03-01 09:00:00,000 job 1: created (4, 1) owner=a keepalive=60.0 host=h
2026-03-01 09:00:00,000 job 1: power on: board (0, 0, 0) of m (cabinet 0, frame 0, board 0, BMP b)
2026-03-01 09:00:10,000 job 2: created (3, 2) owner=b keepalive=60.0 host=h
2026-03-01 09:00:20,000 job 3: created () owner=c keepalive=60.0 host=h
2026-03-01 09:30:00,000 job 1: destroyed: done (by client h)
2026-03-01 09:31:00,000 job 2: power on: boards (0, 0, 0), (3, 1, 2) of m (cabinet 0, frame 0, ...)
2026-03-01 09:40:00,000 job 2: destroyed: done (by client h)
2026-03-01 09:41:00,000 job 3: power on: board (0, 0, 0) of m (cabinet 0, frame 0, board 0, BMP b)
2026-03-01 09:42:00,000 job 3: destroyed: done (by client h)
2026-03-01 09:50:00,000 job 4: created () owner=c keepalive=60.0 host=h
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "spalloc.cfg"
    path.write_text(CONFIGURATION)
    return str(path)


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "jobs.log"
    path.write_text(QUEUE)
    return str(path)


def replayed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["replay", "--json", "--timezone", "UTC", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


def test_a_log_is_replayed_in_several_orders(
    config: str, log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = replayed(capsys, log, config)

    assert list(told["columns"]) == [
        "what happened",
        "fcfs",
        "fcfs-grid",
        "overtaking, 7200 s",
    ]
    assert (told["jobs"], told["compared"], told["unfinished"]) == (4, 3, 1)
    happened, fcfs, _, overtaking = told["columns"].values()
    assert happened["all"]["longest"] == 41 * 60 - 20
    # The block begins when the row is off and has rested; the board, once the block has begun.
    assert fcfs["big"]["longest"] == pytest.approx(1800 - 10 + 35, abs=0.1)
    assert fcfs["small"]["longest"] == pytest.approx(1800 - 20 + 35, abs=0.1)
    assert overtaking["small"]["longest"] == 0.0
    assert (fcfs["overtakes"], overtaking["overtakes"]) == (0, 1)


def test_orders_can_be_chosen(config: str, log: str, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--scheduling", "overtaking", "--scheduling", "fcfs"]
    chosen += ["--patience", "0", "--patience", "60.5"]

    told = replayed(capsys, *chosen, log, config)

    assert list(told["columns"]) == [
        "what happened",
        "overtaking, 0 s",
        "overtaking, 60.5 s",
        "fcfs",
    ]


def test_what_came_out_is_a_table(
    config: str, log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", log, config]) == 0

    told = capsys.readouterr().out
    assert "4 jobs, 3 of them compared" in told
    assert "started before an older one" in told
    assert "1 jobs had not ended" in told
    assert "What this cannot know:" in told


def test_a_trace_needs_no_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["traces", "three", "--jobs", "30"])
    trace = tmp_path / "trace"
    trace.write_text(capsys.readouterr().out)

    told = replayed(capsys, str(trace), "--scheduling", "fcfs")

    assert list(told["columns"]) == ["fcfs"]
    assert (told["jobs"], told["compared"]) == (30, 27)


@pytest.mark.parametrize("text", [OURS, OURS_1_0, ORIGINALS])
def test_an_export_and_a_database_tell_what_their_log_does(
    text: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, database = tmp_path / "log", str(tmp_path / "history.db")
    log.write_text(text)
    main(["import", "--database", database, "--timezone", "UTC", "--config", config, str(log)])
    capsys.readouterr()
    main(["export", "--format", "json", "--database", database])
    export = tmp_path / "export"
    export.write_text(capsys.readouterr().out)

    from_log, from_export, from_database = (
        replayed(capsys, str(source), config) for source in (log, export, database)
    )

    assert from_export == from_database
    assert from_log["columns"].keys() == from_database["columns"].keys()
    assert from_log["refused"] == from_database["refused"]


def test_requests_that_were_given_up_are_given_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_server._history.past_jobs._PAGE", 1)
    story = Story()
    story.life(1, 0.0, 100.0, (0, 0, 0))
    story.created(2)
    story.ended(2, 30.0, reason="Cancelled: ")
    where = str(tmp_path / "history.db")
    with closing(Database(where)) as database:
        write(database, story.events)

    past = read_past([f"sqlite:///{where}"], None)

    given_up = past.served[1].submission
    assert (given_up.gives_up, given_up.life) == (30.0, 100.0)
    assert past.served[1].start is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there are no jobs"),
        ("hello\n", "there are no jobs"),
        ('{"trace": "class"}\n', "the trace is broken: KeyError"),
        ('{"job": 1}\n{{\n', "there are no jobs"),
    ],
)
def test_files_without_jobs_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)

    with pytest.raises(PastError, match=words):
        read_past([str(path)], None)


def test_troubles_are_said(
    tmp_path: Path, config: str, log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"SQLite format 3\0" + b"junk" * 100)
    for words, error in (
        ([log], "a CONFIG is needed"),
        ([str(tmp_path / "nothing"), config], "No such file"),
        ([log, str(tmp_path / "nothing.cfg")], "nothing.cfg: cannot be read"),
        ([str(broken), config], "broken.db"),
    ):
        assert main(["replay", *words]) == 1
        assert error in capsys.readouterr().err


@pytest.mark.parametrize("patience", ["soon", "-1", "inf", "nan"])
def test_patience_is_seconds(patience: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["replay", f"--patience={patience}", "log", "cfg"])

    assert f"{patience!r} is no patience" in capsys.readouterr().err


def test_orders_are_called_by_what_matters() -> None:
    assert [str(Order(name, 60.0)) for name in ("fcfs", "overtaking")] == [
        "fcfs",
        "overtaking, 60 s",
    ]
