"""The command spalloc-state: what it prints of sound and of damaged files."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._jobs import book
from spalloc_server._programs import state_text, state_tool
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.journal import Journal
from spalloc_server._saved.saved_file import first_line, read_header
from spalloc_server._saved.store import Store
from tests.support.store_disks import FakeBook, files_in

MACHINE = {
    "name": "big",
    "tags": ["default", "torus"],
    "width": 1,
    "height": 1,
    "dead_boards": [[0, 0, 2]],
    "dead_links": [],
    "board_locations": [[[0, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1]]],
    "bmp_ips": [[[0, 0], "10.0.0.1"]],
    "spinnaker_ips": [],
}
QUARANTINE = {
    "cases": [
        {
            "board": [0, 0, 1],
            "kind": "fpga",
            "what": "FPGA 2 mute",
            "since": 1.7e9,
            "tests": 1,
            "due_in": 5.0,
        }
    ],
    "silent": [[[0, 0], 1.7e9]],
    "faults": [],
}


def request(owner: str, *args: int, **kwargs: Any) -> dict[str, Any]:
    return {
        "owner": owner,
        "start_time": 1_700_000_000.0,
        "keepalive": 60.0,
        "host": "10.1.1.1",
        "args": list(args),
        "kwargs": kwargs,
    }


def allocation(number: int, boards: list[list[int]]) -> dict[str, Any]:
    return {
        "machine": "big",
        "id": number,
        "outcome": ["board", 0, 0, 0],
        "boards": boards,
        "periphery": [],
        "torus": 0,
    }


IN_THE_SNAPSHOT: list[tuple[Any, ...]] = [
    ("machines", ["big"], [MACHINE], [], {"10.9.9.9": [3, 4]}),
    ("quarantine", "big", QUARANTINE),
    ("created", 1, request("ann", 1)),
    ("allocated", 1, allocation(1, [[0, 0, 0]])),
    ("created", 2, request("bob")),
    ("allocated", 2, allocation(2, [[0, 0, 1]])),
    ("ended", 2, "Out of luck."),
]
IN_THE_JOURNAL: list[list[tuple[Any, ...]]] = [
    [("returned", "big", 2)],
    [("power", 1, True), ("ready", 1)],
    [("created", 3, request("eve\x1b[31m", 2, tags=["default"]))],
    [("allocated", 3, allocation(3, [[0, 0, z] for z in range(6)])), ("ended", 3, None)],
]


def saved(directory: Path, *, crash: bool) -> Path:
    """A state file with everything in it, and with a journal after a crash."""
    store = Store(directory, "a.cfg", "1.0.0", book=book)
    store.load()
    state = book.empty()
    for outcome in IN_THE_SNAPSHOT:
        book.apply(state, outcome)
    store.begin(state)
    for outcomes in IN_THE_JOURNAL:
        for outcome in outcomes:
            book.apply(state, outcome)
            store.append(outcome)
        store.commit()
    if crash:
        store.abandon()
    else:
        store.close(state)
    return directory / ".a.cfg.state.1.0.0"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return saved(tmp_path, crash=False)


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    return saved(tmp_path, crash=True)


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Run the command; give its exit status and what it printed."""

    def run(*args: object) -> tuple[int, str]:
        status = state_tool.main(["show", *map(str, args)])
        return status, capsys.readouterr().out

    yield run


# --- sound ones ---


AS_TEXT = """\
  state, generation 2, written by version 1.0.0, format 2
  saved at a clean stop
  next job id 4

Machines: 1
  name  triads  boards  dead  tags
  big   1x1     2       1     default, torus

Jobs: 1
  id  state  power  owner  host      created                  keepalive  asked for  given
  1   ready  on     ann    10.1.1.1  2023-11-14 22:13:20 UTC  60 s       1          big [0,0,0]

Waiting to be freed: 2
  machine  allocation  job  given                                       waits for
  big      3           3    [0,0,0] [0,0,1] [0,0,2] [0,0,3] and 2 more  power-off
  big      2           -    ["board",0,0,0]                             rest (0 s so far)

To be powered off on frames no longer configured: 1
  BMP       boards
  10.9.9.9  [3,4]

Out of service: 2
  machine  board        what               since
  big      [0,0,1]      fpga: FPGA 2 mute  2023-11-14 22:13:20 UTC
  big      frame [0,0]  does not answer    2023-11-14 22:13:20 UTC

Ended jobs: 2
  id  reason
  2   Out of luck.
  3   -
"""


def test_a_state_is_printed_for_people(state: Path, show: Any) -> None:
    status, out = show(state)

    assert status == 0
    assert out.splitlines()[1:] == AS_TEXT.splitlines()


def test_a_state_is_printed_for_programs(state: Path, show: Any) -> None:
    status, out = show(state, "--json")

    assert status == 0
    data = json.loads(out)
    assert data["kind"] == "state"
    assert data["generation"] == 2
    assert data["clean"] is True
    assert data["problems"] == data["notes"] == []
    assert data["next_id"] == 4
    assert data["machines"] == [MACHINE]
    assert [(job["id"], job["state"], job["owner"]) for job in data["jobs"]] == [
        (1, "ready", "ann")
    ]
    assert data["allocations"] == [{"job": 1, **allocation(1, [[0, 0, 0]])}]
    assert [(a["id"], a["job"]) for a in data["powering_off"]] == [(3, 3)]
    assert data["resting"] == [
        {"machine": "big", "id": 2, "outcome": ["board", 0, 0, 0], "rested": 0.0}
    ]
    assert data["retired"] == [{"id": 2, "reason": "Out of luck."}, {"id": 3, "reason": None}]
    assert data["quarantine"] == {"big": QUARANTINE}
    assert data["orphans"] == {"10.9.9.9": [3, 4]}


def test_the_option_may_come_before_the_file(state: Path, show: Any) -> None:
    assert show("--json", state) == show(state, "--json")


def test_the_state_after_a_crash_has_in_it_what_its_journal_tells(
    crashed: Path, show: Any
) -> None:
    status, out = show(crashed)

    assert status == 0
    assert ".a.cfg.journal" in out
    assert "not saved at a clean stop" in out
    assert "Out of luck." in out
    assert "rest (0 s so far)" in out


def test_without_its_journal_a_snapshot_is_shown_alone(crashed: Path, show: Any) -> None:
    (crashed.parent / ".a.cfg.journal").unlink()

    status, out = show(crashed)

    assert status == 0
    assert "1   queued" in out
    assert "Out of luck." in out


def test_a_journal_shows_what_happened_and_where_it_led(crashed: Path, show: Any) -> None:
    status, out = show(crashed.parent / ".a.cfg.journal")

    assert status == 0
    assert "journal, generation 1" in out
    assert "Records: 4 (1 allocated, 1 created, 1 ended, 1 power, 1 ready, 1 returned)" in out
    assert "       2  power        [1,true]\n       2  ready        [1]" in out
    assert f"With its snapshot {crashed}:" in out
    assert "Ended jobs: 2" in out


def test_a_journal_alone_shows_what_happened(crashed: Path, show: Any) -> None:
    crashed.unlink()

    status, out = show(crashed.parent / ".a.cfg.journal")

    assert status == 0
    assert "Records: 4" in out
    assert "the snapshot it belongs to is not beside it" in out
    assert "Ended jobs" not in out


def test_a_journal_for_programs(crashed: Path, show: Any) -> None:
    status, out = show(crashed.parent / ".a.cfg.journal", "--json")

    assert status == 0
    data = json.loads(out)
    assert data["kind"] == "journal"
    assert data["records"][1] == [["power", 1, True], ["ready", 1]]
    assert data["beside"] == str(crashed)
    assert data["next_id"] == 4


def test_a_file_under_another_name_is_shown_as_well(state: Path, show: Any) -> None:
    moved = state.rename(state.with_name("saved"))

    status, out = show(moved)

    assert status == 0
    assert "Ended jobs: 2" in out


def test_nothing_is_changed_and_no_lock_asked_for(crashed: Path, show: Any) -> None:
    store = Store(crashed.parent, "a.cfg", "1.0.0", book=book)
    store.lock("a running server")
    before = files_in(crashed.parent)

    status, _ = show(crashed)

    assert status == 0
    assert files_in(crashed.parent) == before
    store.abandon()


def test_what_users_wrote_plays_no_tricks_on_a_terminal(crashed: Path, show: Any) -> None:
    for path in (crashed, crashed.parent / ".a.cfg.journal"):
        _, out = show(path)

        assert all(c.isprintable() or c == "\n" for c in out)


def test_sets_are_lists_for_programs(tmp_path: Path, show: Any) -> None:
    store = Store(tmp_path, "a.cfg", "1.0.0", book=book)
    store.load()
    store.begin({**book.empty(), "orphans": {"10.9.9.9": {4, 3}}, "quarantine": {"big": b"x"}})
    store.abandon()

    _, out = show(tmp_path / ".a.cfg.state.1.0.0", "--json")

    assert json.loads(out)["orphans"] == {"10.9.9.9": [3, 4]}


# --- damaged ones ---


def test_a_damaged_state_is_told_with_what_its_header_says(state: Path, show: Any) -> None:
    state.write_bytes(state.read_bytes()[:-1])

    status, out = show(state)

    assert status == 1
    assert "generation 2" in out
    assert "PROBLEM: has " in out


def test_a_damaged_journal_is_told_and_the_rest_shown(crashed: Path, show: Any) -> None:
    journal = crashed.parent / ".a.cfg.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"garbage\n", *lines[4:]]))

    for path in (journal, crashed):
        status, out = show(path)

        assert status == 1
        assert "record 3 is damaged" in out
        assert "1 sound records follow, not counted" in out
        assert "1   ready" in out


def test_a_torn_record_is_only_noted(crashed: Path, show: Any) -> None:
    journal = crashed.parent / ".a.cfg.journal"
    journal.write_bytes(journal.read_bytes()[:-3])

    for path in (journal, crashed):
        status, out = show(path)

        assert status == 0
        assert "note: " in out
        assert "record 4 is incomplete" in out


def test_a_record_that_does_not_fit_is_told(crashed: Path, show: Any) -> None:
    directory = crashed.parent / "other"
    directory.mkdir()
    store = Store(directory, "a.cfg", "1.0.0", book=book)
    store.load()
    store.begin(book.empty())
    store.append(("ended", 99, "nobody"))
    store.commit()
    store.abandon()

    status, out = show(directory / ".a.cfg.state.1.0.0")

    assert status == 1
    assert "record 1 of the journal does not fit" in out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"garbage", "neither a state file nor a journal"),
        (pickle.dumps({"next_id": 1}), "original spalloc_server"),
        (b"spalloc-state 1 {} 00000000\n", "checksum"),
        (b"spalloc-journal nonsense\n", "does not begin like"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_is_no_state_is_told(
    tmp_path: Path, show: Any, content: bytes, words: str, form: tuple[str, ...]
) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    path.write_bytes(content)

    status, out = show(path, *form)

    assert status == 1
    assert words in out


def test_a_newer_format_is_told(tmp_path: Path, show: Any) -> None:
    class Newer(FakeBook):
        FORMAT = 1_000

    store = Store(tmp_path, "a.cfg", "9.0", book=Newer())
    store.load()
    store.begin({"next_id": 1})
    store.abandon()

    status, out = show(tmp_path / ".a.cfg.state.9.0")

    assert status == 1
    assert "newer version" in out


def test_a_state_that_makes_no_sense_is_told(tmp_path: Path, show: Any) -> None:
    store = Store(tmp_path, "a.cfg", "1.0.0", book=book)
    store.load()
    store.begin({"next_id": 1, "jobs": {1: "what?"}})
    store.abandon()

    status, out = show(tmp_path / ".a.cfg.state.1.0.0")

    assert status == 1
    assert "makes no sense" in out


def test_a_file_that_a_server_would_refuse_is_shown_and_said(state: Path, show: Any) -> None:
    state.chmod(0o666)

    status, out = show(state)

    assert status == 1
    assert "may be written by others" in out
    assert "Ended jobs: 2" in out


def test_a_file_that_is_not_there_is_told(tmp_path: Path, show: Any) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "no folder" / "a.cfg"):
        status, out = show(path)

        assert status == 1
        assert "No such file" in out


def test_the_state_of_a_simulation_is_shown_where_there_is_no_other(
    state: Path, show: Any
) -> None:
    config = state.parent / "a.cfg"
    note = "of a server with --simulate; there is no other state"

    assert note not in show(config)[1]
    state.rename(state.with_name(".a.cfg.simulated.state.1.0.0"))
    status, out = show(config)

    assert status == 0
    assert f"note: {note}" in out
    assert note not in show(config, "--simulated")[1]


def test_files_of_other_lives_beside_it_are_passed_over(
    state: Path, tmp_path: Path, show: Any
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    foreign = saved(elsewhere, crash=True)
    journal = state.parent / ".a.cfg.journal"
    journal.write_bytes((elsewhere / ".a.cfg.journal").read_bytes())
    (state.parent / ".a.cfg.state.0.9.0").write_text("garbage")
    (state.parent / ".a.cfg.state.0.9.1").write_bytes(foreign.read_bytes()[:-1])

    assert show(state, "--json")[0] == 0
    journal.write_text("garbage")
    status, out = show(state, "--json")

    assert status == 0
    assert json.loads(out)["next_id"] == 4


def test_a_journal_among_snapshots_of_other_lives_is_shown_alone(
    crashed: Path, tmp_path: Path, show: Any
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    crashed.write_bytes(saved(elsewhere, crash=True).read_bytes())
    crashed.with_name(".a.cfg.state.0.9.0").write_text("garbage")

    status, out = show(crashed.parent / ".a.cfg.journal")

    assert status == 0
    assert "the snapshot it belongs to is not beside it" in out


def test_a_sound_record_that_tells_nothing_is_told(tmp_path: Path, show: Any) -> None:
    store = Store(tmp_path, "a.cfg", "1.0.0", book=book)
    store.load()
    store.begin(book.empty())
    store.abandon()
    path = tmp_path / ".a.cfg.journal"
    header = read_header(first_line(path.read_bytes()), "journal", book.FORMAT, path)
    path.unlink()
    journal = Journal(Disk(), path, header)
    journal.append([b"[]", b"nonsense"])
    journal.close()

    status, out = show(path)

    assert status == 1
    assert "record 2 " in out


def test_a_format_that_never_was_is_told(state: Path, show: Any) -> None:
    line, _, body = state.read_bytes().partition(b"\n")
    header = read_header(line + b"\n", "state", book.FORMAT, state)
    state.write_bytes(dataclasses.replace(header, format=0).line() + body)

    status, out = show(state)

    assert status == 1
    assert "cannot be brought up to date (book format 0 is not known" in out


@pytest.mark.parametrize("seconds", [1e300, float("inf"), float("nan")])
def test_a_time_beyond_the_calendar_is_shown_as_a_number(seconds: float) -> None:
    assert state_text._time(seconds) == str(seconds)


# --- the command ---


@pytest.mark.parametrize("args", [[], ["show"], ["nonsense"]])
def test_bad_arguments_are_refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        state_tool.main(args)

    assert ended.value.code == 2
    assert "usage: spalloc-state" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_met_as_shells_do(state: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from spalloc_server._programs.state_tool import main; sys.exit(main())",
            "show",
            str(state),
        ],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )

    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, b"")


# --- by the configuration's name ---


def test_a_configuration_shows_its_newest_state(crashed: Path, show: Any) -> None:
    config = crashed.parent / "a.cfg"
    config.write_text("configuration = Configuration()\n")

    assert show(config) == show(crashed)


def test_the_state_of_a_configuration_may_lie_elsewhere(
    crashed: Path, show: Any, tmp_path: Path
) -> None:
    assert show("/nowhere/a.cfg", "--state-dir", crashed.parent) == show(crashed)


def test_a_configuration_without_a_state_is_told_so(show: Any, tmp_path: Path) -> None:
    config = tmp_path / "b.cfg"
    config.write_text("configuration = Configuration()\n")

    status, out = show(config)
    assert status == 1
    assert "--state-dir" in out
    status, out = show(config, "--state-dir", tmp_path)
    assert status == 1
    assert "there is no saved state of b.cfg in this folder" in out
    status, out = show(config, "--state-dir", tmp_path / "nowhere")
    assert status == 1
    assert "cannot be searched (No such file" in out
    status, out = show(config, "--simulated")
    assert status == 1
    assert "there is no saved state" in out
