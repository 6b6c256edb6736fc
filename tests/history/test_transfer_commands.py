"""``spalloc-history import`` and ``export``."""

import csv
import gzip
import io
import json
from contextlib import closing
from pathlib import Path

import pytest

from spalloc_server._history.database import Database
from spalloc_server._history.history import History
from spalloc_server._history.main import main
from tests.history.logs import CONFIGURATION, ORIGINALS, OURS, OURS_1_0
from tests.history.story import Story, write


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def take(database: Path, *files: Path, **options: str) -> int:
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    paths = [str(file) for file in files]
    return main(["import", "--database", str(database), "--timezone", "UTC", *words, *paths])


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_logs_are_taken_once(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        written(tmp_path, "b.log", OURS),
        written(tmp_path, "a.log.gz", ORIGINALS),
        written(tmp_path, "c.log", f"{OURS_1_0}what?\n"),
    ]
    config = written(tmp_path, "spalloc.cfg", CONFIGURATION)

    first = take(database, *files, config=str(config))
    second = take(database, *files, config=str(config))

    assert (first, second) == (0, 0)
    assert capsys.readouterr().out == (
        "9 jobs added, 0 were known; 0 of 47 records were not understood\n"
        "0 jobs added, 9 were known; 0 of 47 records were not understood\n"
    )
    with closing(History(str(database))) as history:
        rows = history.jobs().rows
        assert [row.job for row in rows] == [4, 3, 2, 1, 7, 4, 3, 2, 1]
        assert all(row.imported for row in rows)
        assert [row.place for row in rows if row.owner.startswith("bob")] == [[0, 1, 1, 1]] * 2
        usage = history.usage(rows[0].created, rows[0].created + 60)
    assert usage.total.jobs == 4
    # The configuration tells how large the machine was.
    assert usage.total.utilisation is not None


def test_a_log_may_come_in_pieces(database: Path, tmp_path: Path) -> None:
    lines = OURS.splitlines(keepends=True)
    for number in range(0, len(lines), 3):
        piece = written(tmp_path, f"{number}.log", "".join(lines[number : number + 3]))
        assert take(database, piece) == 0
    whole = tmp_path / "whole.db"
    assert take(whole, written(tmp_path, "all.log", OURS)) == 0

    with closing(History(str(database))) as pieces, closing(History(str(whole))) as once:
        assert pieces.jobs().rows == once.jobs().rows


def test_jobs_that_the_follower_heard_of_are_known(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(begin=1795874802.3)
    story.created(1)
    followed = Database(str(database))
    write(followed, story.events)
    followed.close()

    take(database, written(tmp_path, "log", OURS))

    assert capsys.readouterr().out.startswith("3 jobs added, 1 were known;")
    with closing(History(str(database))) as history:
        told = history.job(1)
    assert told is not None
    assert (told.job.imported, told.namesakes) == (False, [])


def test_names_that_come_late_are_forgotten(database: Path, tmp_path: Path) -> None:
    take(database, written(tmp_path, "log", OURS), **{"keep-names-days": "1"})
    with closing(History(str(database))) as history:
        recent = {row.owner for row in history.jobs().rows}

    take(database, written(tmp_path, "old", ORIGINALS), **{"keep-names-days": "1"})

    with closing(History(str(database))) as history:
        old = [row for row in history.jobs().rows if row.created < 1.7e9]
    assert recent
    assert all(row.pseudonym for row in old)
    assert len(old) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "No such file"),
        ({"config": "nowhere.cfg"}, "nowhere.cfg: cannot be read"),
    ],
)
def test_files_that_cannot_be_read_are_said(
    database: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str], words: str
) -> None:
    assert take(database, database.parent / "nothing.log", **options) == 1

    assert words in capsys.readouterr().err


def test_a_zone_that_is_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["import", "--timezone", "Moon/Sea", "log"])

    assert "'Moon/Sea' is no time zone" in capsys.readouterr().err


# --- export ---


def test_an_export_can_be_taken_elsewhere(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(database, written(tmp_path, "log", OURS))
    capsys.readouterr()
    assert main(["export", "--format", "json", "--database", str(database)]) == 0
    lines = capsys.readouterr().out
    elsewhere = tmp_path / "elsewhere.db"

    take(elsewhere, written(tmp_path, "export", lines + "\n{}\n"))
    report = capsys.readouterr().out

    assert report == "4 jobs added, 0 were known; 1 of 5 records were not understood\n"
    assert main(["export", "--format", "json", "--database", str(elsewhere)]) == 0
    assert capsys.readouterr().out == lines
    assert json.loads(lines.splitlines()[0])["owner"] == "dora"


def test_a_job_that_goes_on_is_exported_as_such(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story()
    story.created(1)
    made = Database(str(database))
    write(made, story.events)
    made.close()
    main(["export", "--format", "json", "--database", str(database)])
    elsewhere = tmp_path / "elsewhere.db"

    take(elsewhere, written(tmp_path, "export", capsys.readouterr().out))

    with closing(History(str(elsewhere))) as history:
        (row,) = history.jobs().rows
    assert (row.allocated, row.ended) == (None, None)


def test_csv_is_for_spreadsheets(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    story.created(1, owner="=cmd()", host=None)
    story.allocated(1, 5.0, (0, 0, 2, 1))
    made = Database(str(database))
    write(made, story.events)
    made.close()

    assert main(["export", "--database", str(database)]) == 0

    head, row = csv.reader(io.StringIO(capsys.readouterr().out))
    told = dict(zip(head, row, strict=True))
    assert (told["job"], told["owner"], told["place"]) == ("1", "'=cmd()", "[0, 0, 2, 1]")


def test_an_export_is_filtered(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(database, written(tmp_path, "log", OURS))
    capsys.readouterr()

    assert main(["export", "--owner", "carl", "--database", str(database)]) == 0

    assert len(capsys.readouterr().out.splitlines()) == 2
