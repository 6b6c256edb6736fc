"""The checks on the arguments of a `Machine`, and how its parts are written.

Owns the wording of mistakes and of the values that were expected.  Must not know the
class `Machine` itself, nor how many machines there are. Every check is one
pass over its argument: a configuration may name 120,000 boards.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeGuard

from spalloc_server._places import Board
from spalloc_server.links import Links

#: A physical place (cabinet, frame, board) and a frame as a configuration gives them.
PlainPlace: TypeAlias = tuple[int, int, int]
PlainFrame: TypeAlias = tuple[int, int]
#: The link of a board: x, y, z, link.
BoardLink: TypeAlias = tuple[int, int, int, Links]
#: Both kinds of set are taken, and kept as they are.
AnySet: TypeAlias = "set[Any] | frozenset[Any]"

BOARDS_PER_TRIAD = 3


def check_set(name: str, what: str, entries: object) -> None:
    if not isinstance(entries, set | frozenset):
        raise TypeError(f"machine {name!r}: {what} is {entries!r}: expected a set")


def mapping(name: str, what: str, entries: "Mapping[Any, Any] | None") -> "Mapping[Any, Any]":
    if entries is None:
        return {}
    if not isinstance(entries, Mapping):
        raise TypeError(f"machine {name!r}: {what} is {entries!r}: expected a dictionary")
    return entries


def check_boards(name: str, what: str, boards: Iterable[object]) -> None:
    for board in boards:
        if not (isinstance(board, tuple) and len(board) == 3 and _all_ints(board)):
            raise ValueError(
                f"machine {name!r}: {board!r} in {what} is no board: "
                "expected (x, y, z), whole numbers"
            )


def _all_ints(numbers: Iterable[object]) -> bool:
    return all(map(_is_int, numbers))


def _is_int(number: object) -> TypeGuard[int]:
    """Whether it is a whole number; True and False are none."""
    return isinstance(number, int) and not isinstance(number, bool)


def size(
    name: str,
    width: int | None,
    height: int | None,
    locations: Iterable[Board],
    dead_boards: Iterable[Board],
) -> tuple[int, int]:
    """Width and height in triads, given or just large enough for all boards."""
    if width is None and height is None:
        boards = [*locations, *dead_boards]
        if not boards:
            raise ValueError(
                f"machine {name!r}: no size: expected width and height, or board_locations"
            )
        return 1 + max(board[0] for board in boards), 1 + max(board[1] for board in boards)
    if not _is_int(width) or not _is_int(height):
        raise TypeError(
            f"machine {name!r}: width is {width!r} and height {height!r}: "
            "expected whole numbers of triads for both or neither"
        )
    if width < 0 or height < 0:
        raise ValueError(
            f"machine {name!r}: width is {width!r} and height {height!r}: "
            "expected at least 0 triads"
        )
    return width, height


def check_inside(
    name: str, width: int, height: int, locations: Iterable[Board], dead_boards: Iterable[Board]
) -> None:
    for what, boards in (("board", locations), ("dead board", dead_boards)):
        for board in boards:
            x, y, z = board
            if not (0 <= x < width and 0 <= y < height and 0 <= z < BOARDS_PER_TRIAD):
                raise ValueError(
                    f"machine {name!r}: {what} {board!r} is outside: "
                    f"expected {_limits(width, height)}"
                )


def check_dead_links(name: str, width: int, height: int, dead_links: Iterable[object]) -> None:
    for entry in dead_links:
        if not (isinstance(entry, tuple) and len(entry) == 4 and _all_ints(entry)):
            raise ValueError(
                f"machine {name!r}: {entry!r} in dead_links is no link: expected (x, y, z, link), "
                "link being one of Links"
            )
        x, y, z, link = entry
        if not (0 <= x < width and 0 <= y < height and 0 <= z < BOARDS_PER_TRIAD):
            raise ValueError(
                f"machine {name!r}: dead link {link_text(entry)} is outside: "
                f"expected {_limits(width, height)}"
            )
        if not 0 <= link < len(Links):
            raise ValueError(
                f"machine {name!r}: dead link {entry!r}: there is no link {link!r}: "
                f"expected one of {', '.join(f'Links.{one.name}' for one in Links)}"
            )


def _limits(width: int, height: int) -> str:
    return f"0 <= x < {width}, 0 <= y < {height}, 0 <= z < {BOARDS_PER_TRIAD}"


def place(name: str, board: Board, location: object) -> PlainPlace:
    if not (isinstance(location, tuple) and len(location) == 3 and _all_ints(location)):
        raise TypeError(
            f"machine {name!r}: location of board {board!r} is {location!r}: "
            "expected (cabinet, frame, board), whole numbers"
        )
    return location


def check_places(
    name: str, locations: Mapping[Board, PlainPlace], bmps: Mapping[PlainFrame, str]
) -> None:
    """One board in each place, one BMP for each frame."""
    boards: dict[PlainPlace, Board] = {}
    for board, location in locations.items():
        cabinet, frame, _ = place(name, board, location)
        other = boards.setdefault(location, board)
        if other is not board:
            raise ValueError(
                f"machine {name!r}: boards {other!r} and {board!r} are both at cabinet, frame, "
                f"board {location!r}: expected one board in each place"
            )
        if (cabinet, frame) not in bmps:
            raise ValueError(
                f"machine {name!r}: no BMP for cabinet, frame {(cabinet, frame)!r}, which holds "
                f"board {board!r}: expected a host for it in bmp_ips"
            )


def check_live_boards(
    name: str,
    size_triads: tuple[int, int],
    dead_boards: AnySet,
    locations: Mapping[Board, PlainPlace],
    addresses: Mapping[Board, str],
) -> None:
    width, height = size_triads
    # Stops at the first board missing, so a size with a digit too many costs nothing.
    for x in range(width):
        for y in range(height):
            for z in range(BOARDS_PER_TRIAD):
                board = (x, y, z)
                if board in dead_boards or (board in locations and board in addresses):
                    continue
                what = "spinnaker_ips" if board in locations else "board_locations"
                raise ValueError(
                    f"machine {name!r}: board {board!r} is missing from {what}: "
                    "expected an entry there, or the board in dead_boards"
                )


def set_text(entries: AnySet, texts: Iterable[str]) -> str:
    inner = f"{{{', '.join(sorted(texts))}}}" if entries else ""
    return f"frozenset({inner})" if isinstance(entries, frozenset) else inner or "set()"


def link_text(entry: tuple[int, int, int, int]) -> str:
    x, y, z, link = entry
    # The standard repr of an enumeration's member is no Python.
    told = f"Links.{link.name}" if isinstance(link, Links) else repr(link)
    return f"({x!r}, {y!r}, {z!r}, {told})"
