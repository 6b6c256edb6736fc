"""The report on a configuration, finding by finding."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._checks.faults import listed
from spalloc_server._configuration_file import ConfigurationError, load_configuration
from spalloc_server._programs.check import (
    EndedJob,
    Finding,
    Saved,
    SavedJob,
    check_main,
    diff,
    findings,
    repeated_entries,
    report_text,
    resolves,
    summaries,
)
from spalloc_server._programs.machine_findings import machine_findings
from spalloc_server.configuration import Configuration, Machine
from spalloc_server.coordinates import board_down_link
from spalloc_server.links import Links


def machine(name: str = "m", width: int = 2, height: int = 2, **changes: Any) -> Machine:
    """A machine that nothing is wrong with, with changes."""
    boards = [(x, y, z) for x in range(width) for y in range(height) for z in range(3)]
    arguments: dict[str, Any] = {
        "board_locations": {board: (0, 0, n) for n, board in enumerate(boards)},
        "bmp_ips": {(0, 0): f"10.0.{ord(name[0])}.0"},
        "spinnaker_ips": {
            board: f"10.0.{ord(name[0])}.{n}" for n, board in enumerate(boards, start=1)
        },
    }
    return Machine(name, width=width, height=height, **(arguments | changes))


def both_ends(x: int, y: int, z: int, link: Links) -> set[tuple[int, int, int, Links]]:
    far_x, far_y, far_z, _ = board_down_link(x, y, z, link, 2, 2)
    return {(x, y, z, link), (far_x, far_y, far_z, link.opposite)}


def told(*machines: Machine, **changes: Any) -> list[str]:
    """Findings on machines, as text."""
    configuration = Configuration(list(machines), **changes)
    return [
        f"{severity}: {about}: {text}"
        for severity, about, text in findings(configuration, resolve=lambda host: host)
    ]


def only(texts: list[str]) -> str:
    (text,) = texts
    return text


# --- findings on a machine ---


def test_nothing_is_said_of_what_is_in_order() -> None:
    assert (
        told(machine(), Machine.single_board("s", bmp_ip="10.1.0.0", spinnaker_ip="10.1.0.1"))
        == []
    )


@pytest.mark.parametrize(
    "dead",
    [
        machine(dead_boards={(x, y, z) for x in range(2) for y in range(2) for z in range(3)}),
        Machine("m", width=0, height=0),
    ],
)
def test_a_machine_nothing_can_be_allocated_on(dead: Machine) -> None:
    assert "warning: m: no board can be allocated: all are dead" in told(dead)


def test_a_machine_the_allocator_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __init__(self, *args: object) -> None:
            raise ValueError("odd")

    monkeypatch.setattr("spalloc_server._programs.machine_findings.Allocator", Refusing)

    assert only(told(machine())) == "error: m: the allocator does not take it: ValueError: odd"


def test_a_machine_for_single_boards_only() -> None:
    dead = {(x, y, 0) for x in range(2) for y in range(2)}

    assert "warning: m: only single boards can be allocated" in only(
        told(machine(dead_boards=dead))
    )


def test_a_board_cut_off_by_dead_links() -> None:
    links = set().union(*(both_ends(1, 1, 2, link) for link in Links))

    assert only(told(machine(dead_links=links))) == (
        "warning: m: cut off from all other boards by dead boards and links: (1, 1, 2)"
    )


def test_a_board_cut_off_by_dead_boards() -> None:
    neighbours = {board_down_link(0, 0, 0, link, 2, 2)[:3] for link in Links}

    assert only(told(machine(dead_boards=neighbours))).endswith("links: (0, 0, 0)")


def test_boards_that_are_all_cut_off() -> None:
    wide = machine(
        width=4,
        height=4,
        dead_boards={(x, y, z) for x in range(4) for y in range(4) for z in range(3)}
        - {(0, 0, 0), (2, 2, 0)},
    )

    assert told(wide)[0].endswith("links: (0, 0, 0), (2, 2, 0)")


def test_boards_that_reach_only_each_other() -> None:
    group = {(0, 0, 0), (0, 0, 1)}
    links = set()
    for board in group:
        for link in Links:
            if board_down_link(*board, link, 2, 2)[:3] not in group:
                links |= both_ends(*board, link)

    assert only(told(machine(dead_links=links))) == (
        "warning: m: 2 boards reach each other but not the rest: (0, 0, 0), (0, 0, 1)"
    )


def test_a_link_dead_at_one_end_only() -> None:
    assert only(told(machine(dead_links={(0, 0, 0, Links.north)}))) == (
        "warning: m: links dead at one end only; the whole cable is taken as dead: "
        "(0, 0, 0, Links.north) but not (0, 0, 2, Links.south)"
    )
    assert told(machine(dead_links=both_ends(0, 0, 0, Links.north))) == []


def test_a_dead_cable_is_counted_once() -> None:
    cables = both_ends(0, 0, 0, Links.north) | {(1, 1, 1, Links.west)}

    (summary,) = summaries(Configuration([machine(dead_links=cables)]))

    assert summary.dead_links == 2


def test_no_live_link_around_the_machine() -> None:
    around = {
        (x, y, z, link)
        for x in range(2)
        for y in range(2)
        for z in range(3)
        for link in Links
        if board_down_link(x, y, z, link, 2, 2)[3]
    }

    assert only(told(machine(dead_links=around))) == (
        "warning: m: no wrap-around link lives: jobs with require_torus are refused"
    )
    one_lives = around - both_ends(*next(iter(around)))
    assert told(machine(dead_links=one_lives)) == []


@pytest.mark.parametrize("dead", [(0, 0, 0), (0, 0, 2)])
def test_a_dead_link_of_a_dead_board(dead: tuple[int, int, int]) -> None:
    odd = machine(dead_boards={dead}, dead_links={(0, 0, 0, Links.north)})

    assert "warning: m: dead links of dead boards" in only(told(odd))
    assert "(0, 0, 0, Links.north)" in only(told(odd))


def test_places_with_negative_numbers() -> None:
    locations = machine().board_locations | {(0, 0, 0): (0, 0, -1)}  # type: ignore[operator]

    assert only(told(machine(board_locations=locations))) == (
        "error: m: no place has negative numbers (cabinet, frame, board): (0, 0, -1)"
    )


def test_boards_beyond_those_of_a_frame() -> None:
    locations = machine().board_locations | {(0, 0, 0): (0, 0, 24)}  # type: ignore[operator]

    assert only(told(machine(board_locations=locations))) == (
        "warning: m: a frame has boards 0 to 23, but (cabinet, frame, board) are: (0, 0, 24)"
    )


def test_frames_without_boards() -> None:
    odd = machine(bmp_ips={(0, 0): "10.0.0.0", (7, 8): "10.0.0.8"})

    assert only(told(odd)) == (
        "warning: m: frames with a BMP but no boards, (cabinet, frame): (7, 8)"
    )


def test_a_host_for_both_a_bmp_and_a_board() -> None:
    odd = machine(bmp_ips={(0, 0): "10.0.109.1"})

    assert only(told(odd)) == "warning: m: given for a BMP and for a board: 10.0.109.1"


def test_a_machine_without_tags() -> None:
    assert "warning: m: no tags: only jobs that name the machine can be given it" in told(
        machine(tags=set()), machine("n")
    )


def test_tags_that_no_job_can_ask_for() -> None:
    assert only(told(machine(tags={"default", 5}))) == (
        "error: m: tags that are no text, which no job can ask for: 5"
    )


@pytest.mark.parametrize("host", ["192.168.0.2 ", " b", "", "\t"])
@pytest.mark.parametrize("what", ["BMP", "board"])
def test_hosts_that_look_like_others(what: str, host: str) -> None:
    hosts = {"bmp_ip": "b", "spinnaker_ip": "s"}
    hosts["bmp_ip" if what == "BMP" else "spinnaker_ip"] = host

    told_of = told(Machine.single_board("m", **hosts))  # type: ignore[arg-type]

    quoted = "'\\t'" if host == "\t" else f"'{host}'"
    text = f"error: m: {what} addresses that are empty or have blanks around them: {quoted}"
    assert text in told_of


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "000.0.0.00", "255.255.255.255", "224.0.0.1", "239.9.9.9"]
)
def test_addresses_that_nothing_can_have(host: str) -> None:
    told_of = told(Machine.single_board("m", bmp_ip=host, spinnaker_ip="s"))

    assert f"error: m: BMP addresses that nothing can have: '{host}'" in told_of


@pytest.mark.parametrize("host", ["10.0.0.0", "223.255.255.255", "240.0.0.1", "bmp-224.0.0.1"])
def test_addresses_that_something_may_have(host: str) -> None:
    told_of = told(Machine.single_board("m", bmp_ip=host, spinnaker_ip="s"))

    assert not [text for text in told_of if "nothing can have" in text]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("timeout_check_interval=0", "timeout_check_interval is 0, which keeps"),
        ("timeout_check_interval=1e-9", "timeout_check_interval is 1e-09, which keeps"),
        ("machines=[m(tags={'default', None})]", "machine 'm': tags that are no text"),
        ("machines=[m(bmp_ip='192.168.0.2 ')]", "have blanks around them: '192.168.0.2 '"),
        ("machines=[m(bmp_ip='0.0.0.0')]", "nothing can have: '0.0.0.0'"),
    ],
)
def test_an_error_of_the_check_is_refused_by_the_server(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str
) -> None:
    file.write_text(
        "def m(tags={'default'}, bmp_ip='b'):\n"
        "    return Machine.single_board('m', tags, bmp_ip, 's')\n"
        f"configuration = Configuration({text})\n"
    )

    with pytest.raises(ConfigurationError) as refused:
        load_configuration(file)

    assert fault in str(refused.value)
    assert refused.value.line == 3
    assert check_main(str(file), json=False) == 1
    assert fault in capsys.readouterr().out


@pytest.mark.parametrize("name", [" m", "m\n", "m\x07"])
def test_names_that_are_hard_to_type(name: str) -> None:
    assert "hard to type" in only(told(machine(name)))
    assert "hard to type" in only(told(machine(tags={"default", name})))


def test_an_empty_name_is_hard_to_type() -> None:
    assert machine_findings(machine("m")._replace(name=""))[0].text.startswith("'' is hard")


def test_many_alike_are_counted() -> None:
    assert listed(range(5)) == "0, 1, 2, 3, 4"
    assert listed(range(9)) == "0, 1, 2, 3, 4 and 4 more"


# --- findings on the whole ---


def test_no_machines() -> None:
    assert only(told()) == "warning: None: no machines: every job will be refused"


def test_no_default_tag() -> None:
    assert "no machine is tagged 'default'" in only(told(machine(tags={"fast"})))


def test_a_port_that_is_not_looked_at() -> None:
    assert "warning: None: port 1234 is not looked at" in only(told(machine(), port=1234))


def test_an_interval_of_nothing() -> None:
    fault = only(told(machine(), timeout_check_interval=0))

    assert fault.startswith("error: None: timeout_check_interval is 0, which keeps a processor")


def test_hosts_that_do_not_resolve() -> None:
    configuration = Configuration(
        [Machine.single_board("m", bmp_ip="bmp", spinnaker_ip="board")], ip="here"
    )

    assert findings(configuration, resolve=lambda host: None) == [
        Finding("error", None, "ip 'here' does not resolve: nothing can listen"),
        Finding("warning", "m", "BMP addresses do not resolve: bmp"),
        Finding("warning", "m", "board addresses do not resolve: board"),
    ]


def test_bmps_of_different_names_and_one_address() -> None:
    configuration = Configuration(
        [
            Machine.single_board("m", bmp_ip="one", spinnaker_ip="a"),
            Machine.single_board("n", bmp_ip="other", spinnaker_ip="b"),
        ]
    )

    assert findings(configuration, resolve=lambda host: "10.0.0.1") == [
        Finding("warning", "n", "BMPs one and other are both 10.0.0.1")
    ]


def test_each_host_is_looked_up_once() -> None:
    asked: list[str] = []
    lock = threading.Lock()

    def resolve(host: str) -> str:
        with lock:
            asked.append(host)
        return host

    findings(Configuration([machine(bmp_ips={(0, 0): "10.0.109.1"})]), resolve)

    assert sorted(asked) == sorted({f"10.0.109.{n}" for n in range(1, 13)})


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("10.1", None),
        ("10.0.0.256", None),
        ("x" * 300, None),
        ("a..b", None),
        ("", None),
    ],
)
def test_hosts_are_found_as_the_server_finds_them(host: str, address: str | None) -> None:
    assert resolves(host) == address


def test_errors_come_first() -> None:
    odd = machine(tags={5}, spinnaker_ips={**machine().spinnaker_ips, (0, 0, 0): "10.0.109.0"})

    severities = [text.split(":")[0] for text in told(odd, machine("n", tags=set()))]

    assert severities[0] == "error"
    assert set(severities[1:]) == {"warning"}


# --- entries written twice ---


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (
            "x = {1, 2}\ny = {(0, 0, 1), (0, 0, 2), (0,0,1)}",
            "set from line 2 on holds (0, 0, 1) 2",
        ),
        ("set([1, 1, 1])", "set from line 1 on holds 1 3 times"),
        ("frozenset((1, 1))", "set from line 1 on holds 1 2 times"),
        (
            "{(0, 0, 0, Links.north), (0, 0, 0, Links.north)}",
            "holds (0, 0, 0, Links.north) 2 times",
        ),
        ("\n{(0, 0, 0): 1,\n (0, 0, 0): 2}", "dictionary from line 2 on holds (0, 0, 0) 2 times"),
    ],
)
def test_an_entry_written_twice_is_told(text: str, finding: str) -> None:
    (found,) = repeated_entries(text)

    assert found.severity == "warning"
    assert finding in found.text


@pytest.mark.parametrize(
    "text",
    ["{f(), f()}", "{**a, **a}", "{*a, *a}", "[1, 1]", "set(a)", "f([1, 1])", "{1: 2, 2: 2}"],
)
def test_what_may_differ_is_not_taken_for_the_same(text: str) -> None:
    assert repeated_entries(text) == []


# --- summaries and reports ---


def test_a_machine_is_summed_up() -> None:
    (summary,) = summaries(
        Configuration([machine(tags={"b", "a"}, dead_boards={(1, 0, 2), (0, 0, 1)})])
    )

    assert summary.name == "m"
    assert summary.tags == ["a", "b"]
    assert (summary.width, summary.height, summary.boards) == (2, 2, 12)
    assert summary.dead_boards == [(0, 0, 1), (1, 0, 2)]
    assert summary.dead_links == 0
    assert summary.frames == [(0, 0, "10.0.109.0", 12)]
    assert len(summary.addresses) == 10
    assert summary.addresses[0] == "10.0.109.1"


def test_the_text_report() -> None:
    summed_up = summaries(Configuration([machine(dead_boards={(0, 0, 1)})]))

    report = report_text(
        "m.cfg", summed_up, [Finding("warning", "m", "odd"), Finding("error", None, "x")]
    )

    assert report.splitlines() == [
        "m: 2 x 2 triads",
        "    boards     12, 1 dead: (0, 0, 1)",
        "    dead links 0",
        "    tags       default",
        "    addresses  10.0.109.1 to 10.0.109.12",
        "    cabinet 0, frame 0: 12 boards, BMP 10.0.109.0",
        "warning: m: odd",
        "error: x",
        "m.cfg: 1 machine, 1 error, 1 warning",
    ]


def test_addresses_are_told_from_the_lowest_to_the_highest() -> None:
    board = {(0, 0, z): (0, 0, number) for z, number in ((0, 0), (1, 2), (2, 1))}
    odd = Machine.with_standard_ips("m", board_locations=board)
    named = odd._replace(spinnaker_ips={**odd.spinnaker_ips, (0, 0, 1): "a.name"})

    assert summaries(Configuration([odd]))[0].addresses == [
        "192.168.0.1",
        "192.168.0.9",
        "192.168.0.17",
    ]
    assert summaries(Configuration([named]))[0].addresses[-1] == "a.name"


def test_the_text_report_of_a_machine_without_living_boards() -> None:
    dead = {(x, y, z) for x in range(2) for y in range(2) for z in range(3)}

    report = report_text("m.cfg", summaries(Configuration([machine(dead_boards=dead)])), [])

    assert "12 dead" in report
    assert "addresses" not in report


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "machines.cfg"
    path.write_text(
        "configuration = Configuration([Machine.single_board("
        "'m', bmp_ip='10.0.0.0', spinnaker_ip='10.0.0.1')])\n"
    )
    return path


def test_a_good_file_is_reported_with_status_0(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_main(str(file), json=False) == 0

    assert capsys.readouterr().out.endswith(f"{file}: 1 machine, 0 errors, 0 warnings\n")


def test_warnings_alone_have_status_0(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("configuration = Configuration(port=len({1, 1}))\n")

    assert check_main(str(file), json=False) == 0

    assert capsys.readouterr().out.endswith("0 machines, 0 errors, 3 warnings\n")


def test_a_file_that_cannot_be_loaded_is_an_error(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("\nMachine('m')\n")

    assert check_main(str(file), json=False) == 1

    assert f"error: {file}, line 2: ValueError: machine 'm'" in capsys.readouterr().out


def test_programs_can_read_the_report(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_main(str(file), json=True) == 0
    good = json.loads(capsys.readouterr().out)
    file.unlink()
    assert check_main(str(file), json=True) == 1
    bad = json.loads(capsys.readouterr().out)

    assert good == {
        "file": str(file),
        "errors": 0,
        "warnings": 0,
        "findings": [
            {
                "severity": "note",
                "machine": None,
                "text": "everybody who reaches the port may use the server (no access rules)",
            }
        ],
        "machines": [
            {
                "name": "m",
                "tags": ["default"],
                "width": 1,
                "height": 1,
                "boards": 3,
                "dead_boards": [[0, 0, 1], [0, 0, 2]],
                "dead_links": 0,
                "frames": [{"cabinet": 0, "frame": 0, "bmp": "10.0.0.0", "boards": 1}],
                "addresses": ["10.0.0.1"],
            }
        ],
    }
    assert bad["errors"] == 1
    assert bad["findings"][0]["severity"] == "error"
    assert bad["findings"][0]["machine"] is None
    assert "cannot be read" in bad["findings"][0]["text"]
    assert bad["machines"] == []


# --- what a reload would end ---


def test_a_reload_ends_the_jobs_of_machines_that_go_or_are_remade() -> None:
    jobs = [
        SavedJob(5, "me", "remade"),
        SavedJob(4, None, "gone"),
        SavedJob(3, "me", "stays"),
        SavedJob(2, "me", None),
        SavedJob(1, "me", "gone"),
        SavedJob(6, "me", "not saved"),
    ]
    saved = Saved(jobs, [machine("gone"), machine("stays"), machine("remade")])
    configuration = Configuration(
        [machine("remade", bmp_ips={(0, 0): "10.0.0.9"}), machine("stays"), machine("new")]
    )

    assert diff(saved, configuration) == [
        EndedJob(1, "me", "gone", "it is gone"),
        EndedJob(4, None, "gone", "it is gone"),
        EndedJob(5, "me", "remade", "its boards, frames or addresses change"),
    ]


def test_a_reload_that_changes_tags_and_dead_boards_ends_nothing() -> None:
    saved = Saved([SavedJob(1, "me", "m")], [machine()])
    changed = machine(tags={"x"}, dead_boards={(0, 0, 1)}, dead_links={(0, 0, 0, Links.east)})

    assert diff(saved, Configuration([changed])) == []


def test_without_a_change_nothing_ends() -> None:
    saved = Saved([SavedJob(1, "me", "m")], [machine()])

    assert diff(saved, Configuration([machine()])) == []


def test_rules_of_access_without_effect_are_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.cfg"
    file.write_text(
        "configuration = Configuration(machines=[Machine.single_board("
        "'m', bmp_ip='10.0.0.0', spinnaker_ip='10.0.0.1')])\n"
        "policy = Policy(access=[Rule('10.0.0.0/8', 'use'), ('10.1.0.0/16', 'deny')])\n"
    )

    assert check_main(str(file), json=False) == 0

    told = capsys.readouterr().out
    assert "warning: access rule 2 (10.1.0.0/16) has no effect" in told
    assert told.endswith("1 machine, 0 errors, 1 warning\n")


def test_a_policy_that_admits_everybody_is_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.cfg"
    file.write_text(
        "configuration = Configuration(machines=[Machine.single_board("
        "'m', bmp_ip='10.0.0.0', spinnaker_ip='10.0.0.1')])\n"
    )

    assert check_main(str(file), json=False) == 0

    told = capsys.readouterr().out
    assert "note: everybody who reaches the port may use the server" in told
    assert told.endswith("1 machine, 0 errors, 0 warnings\n")
