"""The contents of a configuration file: the machines, and how to share them.

Owns the meaning of `Configuration` and `Machine` and every check on them. Must
not know how a configuration file is found, run or reloaded
(`_configuration_file`, `configuration_reloader`), nor how it is used.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from spalloc_server._checks import machine_checks
from spalloc_server._checks.ip_arithmetic import parse_ipv4, strided_address
from spalloc_server._checks.machine_checks import AnySet, BoardLink, PlainFrame, PlainPlace
from spalloc_server._checks.values import is_finite
from spalloc_server._places import Board
from spalloc_server.coordinates import chip_to_board

__all__ = ("Configuration", "Machine", "board_locations_from_spinner")

_DEFAULT_TAGS = frozenset({"default"})
_CHIPS_PER_TRIAD = 12
#: Comma first: it is taken where there is none of them.
_SEPARATORS = ",;\t"
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_SPINNER_COLUMNS = ("cabinet", "frame", "board", "x", "y")

#: Where relative file names start, while a configuration file is being run.
folder_of_running_file: ContextVar[Path] = ContextVar("folder_of_running_file", default=Path())


class _MachineFields(NamedTuple):
    name: str
    tags: "set[str] | frozenset[str]"
    width: int
    height: int
    dead_boards: "set[Board] | frozenset[Board]"
    dead_links: "set[BoardLink] | frozenset[BoardLink]"
    board_locations: Mapping[Board, PlainPlace]
    bmp_ips: Mapping[PlainFrame, str]
    spinnaker_ips: Mapping[Board, str]


class Machine(_MachineFields):
    """One machine; its boards are handed out to jobs.

    Parameters
    ----------
    name : str
        Users' word for it; no two machines share one.
    tags : set of str
        Jobs ask for machines by these.
    width, height : int or None
        Triads; both, or neither and then they follow from `board_locations`
        and `dead_boards`.
    dead_boards : set of (x, y, z)
        Boards never to be handed out.
    dead_links : set of (x, y, z, Links)
        Links that do not work, each seen from one of its boards.
    board_locations : {(x, y, z): (cabinet, frame, board)}
        Place of every board; needed of those that are not dead.
    bmp_ips : {(cabinet, frame): host}
        Board management processor of every frame in `board_locations`.
    spinnaker_ips : {(x, y, z): host}
        Ethernet address of every board that is not dead.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, or only one of width and height
        is given.
    ValueError
        If a board, dead board or dead link is outside the machine, two boards
        are in one place, or a location or address is missing. Entries beyond
        those needed are fine.
    """

    __slots__ = ()

    def __new__(  # noqa: D102, PLR0917 - described by the class; its fields are positional
        cls,
        name: str,
        tags: AnySet = _DEFAULT_TAGS,
        width: int | None = None,
        height: int | None = None,
        dead_boards: AnySet = frozenset(),
        dead_links: AnySet = frozenset(),
        board_locations: Mapping[Board, PlainPlace] | None = None,
        bmp_ips: Mapping[PlainFrame, str] | None = None,
        spinnaker_ips: Mapping[Board, str] | None = None,
    ) -> "Machine":
        machine_checks.check_set(name, "tags", tags)
        machine_checks.check_set(name, "dead_boards", dead_boards)
        machine_checks.check_set(name, "dead_links", dead_links)
        locations = machine_checks.mapping(name, "board_locations", board_locations)
        bmps = machine_checks.mapping(name, "bmp_ips", bmp_ips)
        addresses = machine_checks.mapping(name, "spinnaker_ips", spinnaker_ips)
        machine_checks.check_boards(name, "board_locations", locations)
        machine_checks.check_boards(name, "dead_boards", dead_boards)
        columns, rows = machine_checks.size(name, width, height, locations, dead_boards)
        machine_checks.check_inside(name, columns, rows, locations, dead_boards)
        machine_checks.check_dead_links(name, columns, rows, dead_links)
        machine_checks.check_places(name, locations, bmps)
        machine_checks.check_live_boards(name, (columns, rows), dead_boards, locations, addresses)
        return super().__new__(
            cls, name, tags, columns, rows, dead_boards, dead_links, locations, bmps, addresses
        )

    def __repr__(self) -> str:
        """Text that makes an equal machine, of any kind of mapping that was given."""
        fields = {
            "name": repr(self.name),
            "tags": machine_checks.set_text(self.tags, map(repr, self.tags)),
            "width": repr(self.width),
            "height": repr(self.height),
            "dead_boards": machine_checks.set_text(self.dead_boards, map(repr, self.dead_boards)),
            "dead_links": machine_checks.set_text(
                self.dead_links, map(machine_checks.link_text, self.dead_links)
            ),
            "board_locations": repr(dict(self.board_locations)),
            "bmp_ips": repr(dict(self.bmp_ips)),
            "spinnaker_ips": repr(dict(self.spinnaker_ips)),
        }
        return f"Machine({', '.join(f'{field}={text}' for field, text in fields.items())})"

    @classmethod
    def single_board(
        cls,
        name: str,
        tags: AnySet = _DEFAULT_TAGS,
        bmp_ip: str | None = None,
        spinnaker_ip: str | None = None,
    ) -> "Machine":
        """Machine of one board: one triad with boards 1 and 2 dead.

        Parameters
        ----------
        name, tags
            As of `Machine`.
        bmp_ip, spinnaker_ip : str
            Hosts of the board's management processor and of the board.

        Raises
        ------
        TypeError
            If one of the hosts is missing.
        """
        for what, host in (("bmp_ip", bmp_ip), ("spinnaker_ip", spinnaker_ip)):
            if host is None:
                raise TypeError(f"machine {name!r}: {what} is None: expected a host name")
        return cls(
            name,
            tags=tags,
            width=1,
            height=1,
            dead_boards=frozenset({(0, 0, 1), (0, 0, 2)}),
            board_locations={(0, 0, 0): (0, 0, 0)},
            bmp_ips={(0, 0): str(bmp_ip)},
            spinnaker_ips={(0, 0, 0): str(spinnaker_ip)},
        )

    @classmethod
    def with_standard_ips(  # noqa: PLR0917 - site files may give all of them by position
        cls,
        name: str,
        tags: AnySet = _DEFAULT_TAGS,
        width: int | None = None,
        height: int | None = None,
        dead_boards: AnySet = frozenset(),
        dead_links: AnySet = frozenset(),
        board_locations: Mapping[Board, PlainPlace] | None = None,
        base_ip: str = "192.168.0.0",
        cabinet_stride: str = "0.0.5.0",
        frame_stride: str = "0.0.1.0",
        board_stride: str = "0.0.0.8",
        bmp_offset: str = "0.0.0.0",
        spinnaker_offset: str = "0.0.0.1",
    ) -> "Machine":
        """Machine with addresses that follow from the boards' places.

        Parameters
        ----------
        name, tags, width, height, dead_boards, dead_links, board_locations
            As of `Machine`.
        base_ip, cabinet_stride, frame_stride, board_stride : str
            IPv4; a board's own address and that of its BMP are ``base_ip +
            cabinet * cabinet_stride + frame * frame_stride + board *
            board_stride +`` the offset that follows.
        bmp_offset, spinnaker_offset : str
            IPv4. The BMP of board 0 serves its whole frame.

        Raises
        ------
        TypeError
            As `Machine`.
        ValueError
            As `Machine`, for a malformed IPv4 address, or one that would be
            beyond 255.255.255.255.
        """
        locations = machine_checks.mapping(name, "board_locations", board_locations)
        machine_checks.check_boards(name, "board_locations", locations)
        places = [machine_checks.place(name, board, place) for board, place in locations.items()]
        base = parse_ipv4(base_ip)
        strides = [parse_ipv4(stride) for stride in (cabinet_stride, frame_stride, board_stride)]
        to_bmp, to_board = parse_ipv4(bmp_offset), parse_ipv4(spinnaker_offset)
        frames = dict.fromkeys((cabinet, frame) for cabinet, frame, _ in places)
        return cls(
            name,
            tags=tags,
            width=width,
            height=height,
            dead_boards=dead_boards,
            dead_links=dead_links,
            board_locations=locations,
            bmp_ips={
                frame: strided_address(base, strides, (*frame, 0), to_bmp) for frame in frames
            },
            spinnaker_ips={
                board: strided_address(base, strides, place, to_board)
                for board, place in zip(locations, places, strict=True)
            },
        )


class _ConfigurationFields(NamedTuple):
    machines: list[Machine]
    port: int
    ip: str
    timeout_check_interval: float
    max_retired_jobs: int
    seconds_before_free: float


class Configuration(_ConfigurationFields):
    """All that a configuration file sets.

    Parameters
    ----------
    machines : list of Machine or None
        Highest priority first.
    port : int
        Kept for old files; the command line rules.
    ip : str
        Address to serve; empty for all of this host's.
    timeout_check_interval : float
        Seconds (>= 0) between looks for jobs past their keepalive.
    max_retired_jobs : int
        How many ended jobs are remembered (>= 0).
    seconds_before_free : float
        Seconds (>= 0) that boards rest without power between two jobs.

    Raises
    ------
    TypeError
        If something other than a `Machine` is among the machines, or another
        argument is of the wrong kind.
    ValueError
        If a machine name, a BMP host or a SpiNNaker host is used twice, or a
        number is out of range.
    """

    __slots__ = ()

    def __new__(  # noqa: D102, PLR0917 - described by the class; its fields are positional
        cls,
        machines: Iterable[Machine] | None = None,
        port: int = 22244,
        ip: str = "",
        timeout_check_interval: float = 5.0,
        max_retired_jobs: int = 1200,
        seconds_before_free: float = 30,
    ) -> "Configuration":
        listed = _machine_list(machines)
        _check_used_once("machine name", ((m.name, m.name) for m in listed))
        _check_used_once("BMP host", ((h, m.name) for m in listed for h in m.bmp_ips.values()))
        _check_used_once(
            "SpiNNaker host", ((h, m.name) for m in listed for h in m.spinnaker_ips.values())
        )
        if not isinstance(ip, str):
            raise TypeError(f"ip is {ip!r}: expected text, empty for all addresses of this host")
        return super().__new__(
            cls,
            listed,
            port,
            ip,
            _number("timeout_check_interval", timeout_check_interval, "a number"),
            int(_number("max_retired_jobs", max_retired_jobs, "a whole number")),
            _number("seconds_before_free", seconds_before_free, "a number"),
        )


def board_locations_from_spinner(filename: str | Path) -> dict[Board, PlainPlace]:
    """Places of a machine's boards, as SpiNNer writes them.

    Parameters
    ----------
    filename : str or Path
        CSV file made by ``spinner-ethernet-chips``, with the columns cabinet,
        frame, board, x and y in any order; commas, semicolons or tabs between them.
        In a configuration file a relative name starts at that file's own folder.

    Returns
    -------
    {(x, y, z): (cabinet, frame, board)}
        For a machine of (max x // 12 + 1) by (max y // 12 + 1) triads.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no UTF-8, lacks a column or a board, has a column z, names one board
        twice, or holds anything but numbers >= 0.
    """
    path = folder_of_running_file.get() / filename
    rows = list(_spinner_rows(path, _csv_lines(path)))
    if not rows:
        raise ValueError(f"{path}: no boards: expected a line of numbers for each")
    width = (max(row["x"] for _, row in rows) // _CHIPS_PER_TRIAD + 1) * _CHIPS_PER_TRIAD
    height = (max(row["y"] for _, row in rows) // _CHIPS_PER_TRIAD + 1) * _CHIPS_PER_TRIAD
    locations: dict[Board, PlainPlace] = {}
    for line, row in rows:
        x, y, z = chip_to_board(row["x"], row["y"], width, height)
        board = int(x), int(y), int(z)
        if board in locations:
            raise ValueError(
                f"{path}, line {line}: chip ({row['x']}, {row['y']}) is on board {board}, "
                "which an earlier line names already: expected each board once"
            )
        locations[board] = row["cabinet"], row["frame"], row["board"]
    return locations


# --- helpers of board_locations_from_spinner ---


def _csv_lines(path: Path) -> list[str]:
    """Read the lines of a file that ought to be UTF-8."""
    contents = path.read_bytes()
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if contents.startswith(mark):
            raise ValueError(f"{path}: is {encoding}: expected a CSV file saved as UTF-8")
    try:
        return contents.decode("utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as exc:
        line = 1 + contents.count(b"\n", 0, exc.start)
        raise ValueError(
            f"{path}, line {line}: byte 0x{contents[exc.start]:02x} is not UTF-8: "
            "expected a CSV file saved as UTF-8"
        ) from exc


def _separator(lines: Iterable[str]) -> str:
    """Find the character between the columns, as spreadsheets of many countries write it."""
    heading = next((line for line in lines if line.strip(" ,;\t\r\n")), "")
    return max(_SEPARATORS, key=heading.count)


def _spinner_rows(path: Path, file: list[str]) -> Iterator[tuple[int, dict[str, int]]]:
    """Line number and numbers by column of each board."""
    reader = csv.reader(file, delimiter=_separator(file), skipinitialspace=True)
    # A line that looks blank in a spreadsheet may be blanks and commas in the file.
    lines = (
        (reader.line_num, [cell.strip() for cell in cells])
        for cells in reader
        if any(cell.strip() for cell in cells)
    )
    heading, columns = next(lines, (1, []))
    for column in _SPINNER_COLUMNS:
        if column not in columns:
            raise ValueError(
                f"{path}, line {heading}: column {column!r} is missing: expected the columns "
                f"{', '.join(_SPINNER_COLUMNS)}, found {', '.join(columns) or 'none'}"
            )
    if "z" in columns:
        raise ValueError(
            f"{path}, line {heading}: column 'z': expected x and y to be chips, as "
            "spinner-ethernet-chips writes them, and not triads (x, y, z)"
        )
    for line, cells in lines:
        row = dict(zip(columns, cells, strict=False))
        numbers = {}
        for column in _SPINNER_COLUMNS:
            text = row.get(column)
            if text is None or not (text.isascii() and text.isdecimal()):
                raise ValueError(
                    f"{path}, line {line}: {column} is {text!r}: expected a number >= 0"
                )
            numbers[column] = int(text)
        yield line, numbers


# --- checks of a configuration ---


def _machine_list(machines: Iterable[Machine] | None) -> list[Machine]:
    listed = machines
    if listed is None:
        return []
    if isinstance(listed, Machine) or not isinstance(listed, Iterable):
        raise TypeError(f"machines is {machines!r}: expected a list of Machine")
    listed = list(listed)
    for machine in listed:
        if not isinstance(machine, Machine):
            raise TypeError(f"{machine!r} is among the machines: expected each to be a Machine")
    return listed


def _check_used_once(what: str, uses: Iterable[tuple[str, str]]) -> None:
    """Raise if a value comes twice among (value, machine name)."""
    seen: dict[str, str] = {}
    for value, machine in uses:
        if not isinstance(value, str):
            raise TypeError(f"{what} of machine {machine!r} is {value!r}: expected text")
        if value in seen:
            raise ValueError(
                f"{what} {value!r} of machine {machine!r} is used by machine {seen[value]!r} "
                "already: expected each once"
            )
        seen[value] = machine


def _number(what: str, number: float, expected: str) -> float:
    """Return a number as a plain int or float."""
    wanted: tuple[type, ...] = (int,) if expected == "a whole number" else (int, float)
    if not isinstance(number, wanted) or isinstance(number, bool):
        raise TypeError(f"{what} is {number!r}: expected {expected}, at least 0")
    if not (is_finite(number) and number >= 0):
        raise ValueError(f"{what} is {number!r}: expected {expected}, at least 0")
    return int(number) if isinstance(number, int) else float(number)
