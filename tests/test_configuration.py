"""What a configuration may say, and what is said of one that may not."""

import copy
import pickle
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._configuration_file import configuration_namespace
from spalloc_server.configuration import Configuration, Machine, board_locations_from_spinner
from spalloc_server.coordinates import board_to_chip
from spalloc_server.links import Links

TRIAD = {(0, 0, z): (0, 0, z) for z in range(3)}
DEAD_TRIAD = frozenset({(0, 0, 0), (0, 0, 1), (0, 0, 2)})


def triad(name: str = "m", /, **changes: Any) -> Machine:
    """One triad in one frame, with changes."""
    arguments: dict[str, Any] = {
        "board_locations": TRIAD,
        "bmp_ips": {(0, 0): f"bmp-{name}"},
        "spinnaker_ips": {board: f"{name}-{board[2]}" for board in TRIAD},
    }
    return Machine(name, **(arguments | changes))


def evaluated(text: str) -> Any:
    return eval(text, configuration_namespace("machines.cfg"))


def grid(width: int, height: int) -> dict[tuple[int, int, int], tuple[int, int, int]]:
    boards = [(x, y, z) for x in range(width) for y in range(height) for z in range(3)]
    return {board: (n // 120, n // 24 % 5, n % 24) for n, board in enumerate(boards)}


# --- Machine ---


def test_a_machine_holds_what_it_was_given() -> None:
    tags, dead, links = {"a"}, {(0, 0, 1)}, {(0, 0, 2, Links.north)}

    machine = triad(tags=tags, dead_boards=dead, dead_links=links)

    assert tuple(machine) == (
        "m",
        {"a"},
        1,
        1,
        {(0, 0, 1)},
        {(0, 0, 2, Links.north)},
        TRIAD,
        {(0, 0): "bmp-m"},
        {(0, 0, 0): "m-0", (0, 0, 1): "m-1", (0, 0, 2): "m-2"},
    )
    assert machine.tags is tags
    assert machine.dead_boards is dead
    assert machine.dead_links is links


def test_the_defaults_of_a_machine() -> None:
    machine = Machine("m", width=1, height=1, dead_boards=DEAD_TRIAD)

    assert machine.tags == {"default"}
    assert machine.dead_links == frozenset()
    assert machine[6:] == ({}, {}, {})


@pytest.mark.parametrize("where", ["locations", "dead"])
def test_the_size_follows_from_boards_and_dead_boards(where: str) -> None:
    boards = grid(3, 2)
    if where == "locations":
        machine = Machine.with_standard_ips("m", board_locations=boards)
    else:
        del boards[2, 1, 2]
        machine = Machine.with_standard_ips(
            "m", board_locations=boards, dead_boards=frozenset({(2, 1, 2)})
        )

    assert (machine.width, machine.height) == (3, 2)


def test_addresses_and_bmps_beyond_those_needed_are_fine() -> None:
    machine = Machine(
        "m", dead_boards=DEAD_TRIAD, bmp_ips={(9, 9): "x"}, spinnaker_ips={(9, 9, 9): "y"}
    )

    assert (machine.width, machine.height) == (1, 1)


def test_dead_boards_need_neither_place_nor_address() -> None:
    machine = Machine(
        "m",
        dead_boards={(0, 0, 1), (0, 0, 2)},
        board_locations={(0, 0, 0): (0, 0, 0)},
        bmp_ips={(0, 0): "bmp"},
        spinnaker_ips={(0, 0, 0): "board"},
    )

    assert (machine.width, machine.height) == (1, 1)


@pytest.mark.parametrize("field", ["tags", "dead_boards", "dead_links"])
@pytest.mark.parametrize("value", [None, "foo", ["foo"], (), {}])
def test_what_must_be_a_set_is_said(field: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"'m'.*{field} is .*expected a set") as caught:
        triad("m", **{field: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("field", ["board_locations", "bmp_ips", "spinnaker_ips"])
def test_what_must_be_a_dictionary_is_said(field: str) -> None:
    with pytest.raises(TypeError, match=rf"'m'.*{field} is \[5\].*expected a dictionary"):
        triad("m", **{field: [5]})


@pytest.mark.parametrize(
    "size",
    [
        {"width": 1},
        {"height": 1},
        {"width": None, "height": 1},
        {"width": "1", "height": 1},
        {"width": 1.0, "height": 1},
        {"width": True, "height": 1},
    ],
)
def test_the_size_is_two_numbers_or_none(size: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"'m'.*expected whole numbers"):
        triad(**size)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"width": -1, "height": 1}, r"width is -1.*at least 0"),
        ({"board_locations": {}}, r"no size.*expected width and height"),
        (
            {"width": 1, "height": 1, "board_locations": {(1, 0, 0): (0, 0, 0)}},
            r"\(1, 0, 0\).*x < 1",
        ),
        ({"board_locations": TRIAD | {(0, 0, 3): (0, 0, 3)}}, r"board \(0, 0, 3\).*0 <= z < 3"),
        ({"board_locations": TRIAD | {(0, -1, 0): (0, 0, 3)}}, r"\(0, -1, 0\) is outside"),
        ({"board_locations": {(0, 0): (0, 0, 0)}}, r"\(0, 0\) in board_locations.*\(x, y, z\)"),
        ({"dead_boards": {(0, 0, 3)}}, r"dead board \(0, 0, 3\) is outside.*z < 3"),
        ({"dead_boards": {"foo"}}, r"'foo' in dead_boards is no board"),
        ({"dead_boards": {(0.5, 0, 0)}}, r"\(0.5, 0, 0\) in dead_boards is no board"),
        ({"dead_links": {(0, 1, 0, Links.west)}}, r"\(0, 1, 0, Links.west\) is outside.*y < 1"),
        ({"dead_links": {(0, 0, 0)}}, r"\(0, 0, 0\) in dead_links is no link"),
        ({"dead_links": {(0, 0, 0, 6)}}, r"no link 6: expected one of Links.east, "),
        ({"board_locations": TRIAD | {(0, 0, 1): (0, 0, 2)}}, r"both at.*\(0, 0, 2\)"),
        (
            {"board_locations": {(0, 0, 0): (0, 0, 0)}},
            r"\(0, 0, 1\) is missing from board_locations",
        ),
        ({"spinnaker_ips": {}}, r"\(0, 0, 0\) is missing from spinnaker_ips"),
        ({"bmp_ips": {(0, 1): "x"}}, r"no BMP for cabinet, frame \(0, 0\).*\(0, 0, 0\).*expected"),
    ],
)
def test_what_does_not_fit_together_is_said(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=rf"machine 'm': .*{told}"):
        triad(**changes)


@pytest.mark.parametrize("place", [None, (0, 0), [0, 0, 0], ("0", "0", "0"), (0, 0, 0.5)])
def test_a_place_is_three_whole_numbers(place: object) -> None:
    with pytest.raises(TypeError, match=r"location of board \(0, 0, 0\).*expected \(cabinet"):
        triad(board_locations={(0, 0, 0): place})


def test_a_frame_that_holds_only_a_dead_board_has_a_bmp_too() -> None:
    with pytest.raises(ValueError, match=r"no BMP for cabinet, frame \(0, 0\)"):
        Machine("m", dead_boards=DEAD_TRIAD, board_locations={(0, 0, 0): (0, 0, 0)})


def test_two_dead_boards_cannot_be_in_one_place() -> None:
    with pytest.raises(ValueError, match="are both at"):
        Machine(
            "m",
            dead_boards=DEAD_TRIAD,
            board_locations={(0, 0, 0): (0, 0, 0), (0, 0, 1): (0, 0, 0)},
            bmp_ips={(0, 0): "x"},
        )


def test_a_size_with_digits_too_many_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"is missing from board_locations"):
        triad(width=10**9, height=10**9)


def test_a_machine_of_120000_boards_is_checked_in_one_pass() -> None:
    boards = grid(200, 200)

    class Counted(dict[Any, Any]):
        looks = 0

        def __getitem__(self, key: object) -> Any:
            Counted.looks += 1
            return super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            Counted.looks += 1
            return super().__contains__(key)

    Machine(
        "m",
        board_locations=Counted(boards),
        bmp_ips=dict.fromkeys([place[:2] for place in boards.values()], "bmp"),
        spinnaker_ips=Counted.fromkeys(boards, "host"),
    )

    assert Counted.looks <= 3 * len(boards)


def test_machines_can_be_copied_and_pickled() -> None:
    machine = triad(dead_links={(0, 0, 0, Links.south_west)})

    assert copy.deepcopy(machine) == machine
    assert pickle.loads(pickle.dumps(machine)) == machine
    assert type(pickle.loads(pickle.dumps(machine))) is Machine


# --- Machine.single_board ---


def test_a_single_board_is_a_triad_with_two_dead() -> None:
    machine = Machine.single_board("m", {"t"}, "bmp", "board")

    assert machine == Machine(
        "m",
        {"t"},
        1,
        1,
        frozenset({(0, 0, 1), (0, 0, 2)}),
        frozenset(),
        {(0, 0, 0): (0, 0, 0)},
        {(0, 0): "bmp"},
        {(0, 0, 0): "board"},
    )


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        ({}, "bmp_ip"),
        ({"bmp_ip": "x"}, "spinnaker_ip"),
        ({"spinnaker_ip": "x"}, "bmp_ip"),
    ],
)
def test_a_single_board_needs_both_hosts(hosts: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=f"'m'.*{told} is None: expected"):
        Machine.single_board("m", **hosts)


# --- Machine.with_standard_ips ---


def test_standard_addresses_follow_from_places() -> None:
    places = {(0, 0, 0): (0, 0, 0), (0, 0, 1): (1, 2, 3), (0, 0, 2): (0, 0, 23)}

    machine = Machine.with_standard_ips("m", board_locations=places)

    assert machine.tags == {"default"}
    assert machine.bmp_ips == {(0, 0): "192.168.0.0", (1, 2): "192.168.7.0"}
    assert machine.spinnaker_ips == {
        (0, 0, 0): "192.168.0.1",
        (0, 0, 1): "192.168.7.25",
        (0, 0, 2): "192.168.0.185",
    }


def test_every_part_of_the_standard_addresses_can_be_given() -> None:
    machine = Machine.with_standard_ips(
        "m",
        {"t"},
        1,
        1,
        {(0, 0, 1), (0, 0, 2)},
        {(0, 0, 0, Links.north)},
        {(0, 0, 0): (1, 2, 3)},
        "10.0.0.0",
        "0.1.0.0",
        "0.0.2.0",
        "0.0.0.16",
        "0.0.0.2",
        "0.0.0.3",
    )

    assert machine.bmp_ips == {(1, 2): "10.1.4.2"}
    assert machine.spinnaker_ips == {(0, 0, 0): "10.1.4.51"}
    assert machine.dead_links == {(0, 0, 0, Links.north)}


@pytest.mark.parametrize(
    "field",
    [
        "base_ip",
        "cabinet_stride",
        "frame_stride",
        "board_stride",
        "bmp_offset",
        "spinnaker_offset",
    ],
)
@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.256", "foo"])
def test_a_malformed_standard_address_is_named(field: str, text: str) -> None:
    arguments: dict[str, Any] = {field: text}
    with pytest.raises(ValueError, match="malformed IPv4") as caught:
        Machine.with_standard_ips("m", board_locations=TRIAD, **arguments)
    assert repr(text) in str(caught.value)


def test_standard_addresses_do_not_wrap_around() -> None:
    with pytest.raises(ValueError, match=r"position \(0, 0, 1\).*out of range"):
        Machine.with_standard_ips("m", board_locations=TRIAD, base_ip="255.255.255.250")


def test_standard_addresses_of_no_boards() -> None:
    machine = Machine.with_standard_ips("m", dead_boards=DEAD_TRIAD)

    assert machine[7:] == ({}, {})


# --- Configuration ---


def test_the_defaults_of_a_configuration() -> None:
    assert Configuration() == ([], 22244, "", 5.0, 1200, 30)
    assert Configuration() != ([], 22244, "", 5.0, 1200, 31)


def test_machines_become_a_list_of_its_own() -> None:
    machines = [triad("a"), triad("b")]

    for given_machines in (machines, tuple(machines), iter(machines)):
        configuration = Configuration(given_machines)
        assert type(configuration.machines) is list
        assert configuration.machines == machines
        assert configuration.machines is not machines


@pytest.mark.parametrize("machines", [5, "foo", ["foo"], [None], triad(), [tuple(triad())]])
def test_only_machines_are_machines(machines: Any) -> None:
    with pytest.raises(TypeError, match=r"machines.*expected"):
        Configuration(machines)


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (
            lambda: triad("a", bmp_ips={(0, 0): "x"}, spinnaker_ips=dict.fromkeys(TRIAD, "y")),
            "name 'a'",
        ),
        (lambda: triad("b", bmp_ips={(0, 0): "bmp-a"}), "BMP host 'bmp-a' of machine 'b'"),
        (lambda: triad("b", bmp_ips={(0, 0): "x", (7, 7): "bmp-a"}), "BMP host 'bmp-a'"),
        (lambda: triad("b", bmp_ips={(0, 0): "x", (7, 7): "x"}), "BMP host 'x'"),
        (
            lambda: triad("b", spinnaker_ips={b: f"a-{b[2]}" for b in TRIAD}),
            "SpiNNaker host 'a-0'",
        ),
    ],
)
def test_nothing_is_used_twice(second: Callable[[], Machine], told: str) -> None:
    with pytest.raises(ValueError, match=rf"{told}.*used by machine '.'.*expected"):
        Configuration([triad("a"), second()])


@pytest.mark.parametrize("host", [None, 5, ["x"]])
def test_a_host_is_text(host: object) -> None:
    with pytest.raises(TypeError, match=r"BMP host of machine 'm' is .*expected text"):
        Configuration([triad(bmp_ips={(0, 0): host})])


@pytest.mark.parametrize(
    "field", ["timeout_check_interval", "max_retired_jobs", "seconds_before_free"]
)
@pytest.mark.parametrize("value", ["5", None, True, -1, float("nan"), float("inf")])
def test_numbers_of_a_configuration_are_in_range(field: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"{field} is {value!r}.*at least 0"):
        Configuration(**{field: value})


def test_the_retired_jobs_are_a_whole_number() -> None:
    arguments: Any = {"max_retired_jobs": 1.5}
    with pytest.raises(TypeError, match=r"1\.5.*whole number"):
        Configuration(**arguments)


def test_the_address_to_serve_is_text() -> None:
    arguments: Any = {"ip": None}
    with pytest.raises(TypeError, match=r"ip is None: expected text"):
        Configuration(**arguments)


# --- repr ---


@given(
    st.builds(
        lambda sets, tags, dead, links, numbers: Configuration(
            [
                triad(tags=sets(tags), dead_boards=sets(dead), dead_links=sets(links)),
                Machine.single_board("n'", sets(), "x\n", "é"),
            ],
            *numbers,
        ),
        st.sampled_from([set, frozenset]),
        st.sets(st.text(max_size=4), max_size=3),
        st.sets(st.sampled_from(sorted(TRIAD)), max_size=3),
        st.sets(
            st.one_of(
                st.tuples(st.just(0), st.just(0), st.integers(0, 2), st.sampled_from(Links)),
                st.tuples(st.just(0), st.just(0), st.integers(0, 2), st.integers(0, 5)),
            ),
            max_size=4,
        ),
        st.tuples(
            st.integers(),
            st.text(max_size=3),
            st.floats(0, allow_nan=False, allow_infinity=False),
            st.integers(0, 10**6),
            st.floats(0, allow_nan=False, allow_infinity=False),
        ),
    )
)
def test_the_repr_of_a_configuration_makes_an_equal_one(configuration: Configuration) -> None:
    again = evaluated(repr(configuration))

    assert again == configuration
    assert type(again) is Configuration
    assert repr(again) == repr(configuration)


def test_mappings_of_any_kind_are_written_as_dictionaries() -> None:
    addresses = defaultdict(str, {board: str(board) for board in TRIAD})
    machine = triad(board_locations=MappingProxyType(TRIAD), spinnaker_ips=addresses)

    assert evaluated(repr(machine)) == triad(spinnaker_ips=dict(addresses))


# --- board_locations_from_spinner ---


def spinner_file(folder: Path, text: str) -> Path:
    file = folder / "machine.csv"
    file.write_bytes(text.encode())
    return file


def test_boards_are_read_from_a_spinner_file(tmp_path: Path) -> None:
    file = spinner_file(tmp_path, "cabinet,frame,board,x,y\n0,1,2,0,0\n0,1,3,8,4\n0,1,4,4,8\n")

    locations = board_locations_from_spinner(str(file))

    assert locations == {(0, 0, 0): (0, 1, 2), (0, 0, 1): (0, 1, 3), (0, 0, 2): (0, 1, 4)}


@pytest.mark.parametrize(
    "text",
    [
        "y,x,board,frame,cabinet\n4,8,1,2,3\n",
        "\ufeffx,y,cabinet,frame,board\r\n8,4,3,2,1\r\n",
        "x, y, note, cabinet, frame, board\n\n8, 4, hello, 3, 2, 1 \n\n",
        '"x","y","cabinet","frame","board","more"\n"8","4","3","2","1","z"\n',
        "\n \n,,,,\nx,y,cabinet,frame,board\n , ,,,\n8,4,3,2,1\n\t\n,,,,\n",
    ],
)
def test_columns_come_in_any_order_and_others_are_skipped(tmp_path: Path, text: str) -> None:
    assert board_locations_from_spinner(spinner_file(tmp_path, text)) == {(0, 0, 1): (3, 2, 1)}


@pytest.mark.parametrize(("width", "height"), [(1, 1), (4, 2), (3, 5)])
def test_a_whole_machine_is_read_back(tmp_path: Path, width: int, height: int) -> None:
    boards = grid(width, height)
    lines = [(*place, *board_to_chip(*board)) for board, place in boards.items()]
    text = "cabinet,frame,board,x,y\n" + "".join(f"{','.join(map(str, line))}\n" for line in lines)

    locations = board_locations_from_spinner(spinner_file(tmp_path, text))

    assert locations == boards
    assert {type(n) for entry in locations.items() for numbers in entry for n in numbers} == {int}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"line 1: column 'cabinet' is missing.*found none"),
        ("cabinet,frame,board,x\n0,0,0,0\n", r"line 1: column 'y' is missing.*found cabinet"),
        ("cabinet,frame,board,x,y\n", r"no boards: expected"),
        ("cabinet,frame,board,x,y\n0,0,0,0,0\n0,0,z,8,4\n", r"line 3: board is 'z'.*number >= 0"),
        ("cabinet,frame,board,x,y\n0,0,0,0,-1\n", r"line 2: y is '-1'"),
        ("cabinet,frame,board,x,y\n0,0,0,0\n", r"line 2: y is None"),
        ("\ncabinet,frame,board,x\n0,0,0,0\n", r"line 2: column 'y' is missing"),
        ("cabinet,frame,board,x,y\n\n,,,,\n0,0,0,0,\n", r"line 4: y is ''"),
        (
            "cabinet,frame,board,x,y\n0,0,0,0,0\n0,0,1,0,0\n",
            r"line 3: chip \(0, 0\).*each board once",
        ),
    ],
)
def test_what_is_wrong_with_a_spinner_file_is_said(tmp_path: Path, text: str, told: str) -> None:
    file = spinner_file(tmp_path, text)
    with pytest.raises(ValueError, match=told) as caught:
        board_locations_from_spinner(file)
    assert str(file) in str(caught.value)


def test_a_missing_spinner_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        board_locations_from_spinner(tmp_path / "nowhere.csv")


# --- files from other programs ---

HEADING = "cabinet,frame,board,x,y"


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
def test_columns_may_be_separated_as_spreadsheets_do(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "boards.csv"
    lines = [HEADING, "0,0,0,0,0", "0,0,1,4,8", "0,0,2,8,4"]
    path.write_text("".join(line.replace(",", separator) + "\r\n" for line in lines))

    assert sorted(board_locations_from_spinner(path).values()) == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 0, 2),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_is_named_with_the_file(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "boards.csv"
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    path.write_bytes(mark + f"{HEADING}\n0,0,0,0,0\n".encode(encoding))

    with pytest.raises(ValueError, match=r"boards\.csv: is UTF-(16|32): expected .* UTF-8"):
        board_locations_from_spinner(path)


def test_a_byte_that_is_no_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "boards.csv"
    path.write_bytes(f"{HEADING}\n0,0,0,0,0\n# f\xfcr".encode("latin-1"))

    with pytest.raises(ValueError, match=r"boards\.csv, line 3: byte 0xfc is not UTF-8"):
        board_locations_from_spinner(path)


def test_a_column_z_is_named(tmp_path: Path) -> None:
    path = tmp_path / "boards.csv"
    path.write_text(f"{HEADING},z\n0,0,0,0,0,0\n0,0,1,0,0,1\n")

    with pytest.raises(ValueError, match=r"line 1: column 'z': expected x and y to be chips"):
        board_locations_from_spinner(path)


@pytest.mark.parametrize("name", ["timeout_check_interval", "max_retired_jobs"])
def test_numbers_are_kept_as_plain_numbers(name: str) -> None:
    configuration = Configuration(**{name: Links.north})  # type: ignore[arg-type]

    assert type(getattr(configuration, name)) is int


def test_a_number_beyond_all_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds_before_free is 1000"):
        Configuration(seconds_before_free=10**400)
