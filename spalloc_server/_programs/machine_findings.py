"""Oddities of one machine of a configuration, though it may be used.

Owns the list of things worth telling its author; faults for which a configuration is
refused are in `_checks.faults`. Pure: must not know files, networks or how findings
are shown (`_programs.check`).
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from spalloc_server._checks.faults import listed
from spalloc_server._places import Board
from spalloc_server.allocator import Allocator
from spalloc_server.configuration import Machine
from spalloc_server.coordinates import board_down_link
from spalloc_server.links import Links

#: Boards that a frame has slots for, numbered from 0.
_BOARDS_PER_FRAME = 24


class Finding(NamedTuple):
    """Something worth telling the author of a configuration.

    Attributes
    ----------
    severity : str
        ``"error"``: it will not work as it stands; ``"warning"``: it may be meant;
        ``"note"``: it is as most have it, and worth knowing.
    machine : str or None
        Name of the machine; None if it is about the whole configuration.
    text : str
        A sentence or less, without full stop.
    """

    severity: str
    machine: str | None
    text: str


def live_boards(machine: Machine) -> set[Board]:
    """Boards of a machine that are not dead, (x, y, z)."""
    return {
        (x, y, z)
        for x in range(machine.width)
        for y in range(machine.height)
        for z in range(3)
        if (x, y, z) not in machine.dead_boards
    }


def machine_findings(machine: Machine) -> list[Finding]:
    """All that is odd about one machine.

    Parameters
    ----------
    machine : Machine

    Returns
    -------
    list of Finding
        In an order that does not change between runs.
    """
    live = live_boards(machine)
    found: list[tuple[str, str]] = []
    for look in (_unusable, _islands, _dead_links, _torus, _places, _frames, _names):
        found += look(machine, live)
    return [Finding(severity, machine.name, text) for severity, text in found]


# --- each takes a machine and its live boards, and yields (severity, text) ---


def _unusable(machine: Machine, live: set[Board]) -> Iterator[tuple[str, str]]:
    try:
        possible = bool(live) and Allocator(
            machine.width, machine.height, machine.dead_boards, machine.dead_links
        ).alloc_possible(1)
    except Exception as exc:  # noqa: BLE001 - the finding tells it
        yield "error", f"the allocator does not take it: {type(exc).__name__}: {exc}"
        return
    if not possible:
        yield "warning", "no board can be allocated: all are dead"
    elif len(live) > 1 and not any(z == 0 for _, _, z in live):
        yield (
            "warning",
            "only single boards can be allocated: board 0 of every triad is dead, "
            "from which the others of a job are reached",
        )


def _islands(machine: Machine, live: set[Board]) -> Iterator[tuple[str, str]]:
    """Boards that the others cannot be reached from."""
    groups = sorted(_connected(machine, live), key=lambda group: (-len(group), min(group)))
    alone = sorted(board for group in groups[1:] if len(group) == 1 for board in group)
    if groups and len(groups[0]) == 1:
        alone = sorted(live) if len(live) > 1 else []
    if alone:
        yield "warning", f"cut off from all other boards by dead boards and links: {listed(alone)}"
    for group in groups[1:]:
        if len(group) > 1:
            yield (
                "warning",
                f"{len(group)} boards reach each other but not the rest: {listed(sorted(group))}",
            )


def _connected(machine: Machine, live: set[Board]) -> Iterator[set[Board]]:
    """Find groups of live boards that reach each other; a link needs both directions."""
    left = set(live)
    while left:
        edge = [left.pop()]
        group = set(edge)
        while edge:
            board = edge.pop()
            for link in Links:
                far, back = _far_end(machine, (*board, link))
                if far in left and not machine.dead_links & {(*board, link), (*far, back)}:
                    left.remove(far)
                    group.add(far)
                    edge.append(far)
        yield group


def _far_end(machine: Machine, end: tuple[int, int, int, int]) -> tuple[Board, Links]:
    """Board that a link leads to, and the link that leads back."""
    x, y, z, number = end
    link = Links(number)
    far_x, far_y, far_z, _ = board_down_link(x, y, z, link, machine.width, machine.height)
    return (far_x, far_y, far_z), link.opposite


def dead_cables(machine: Machine) -> set[frozenset[tuple[int, int, int, int]]]:
    """Find the cables that are dead at either end, each as the set of its two ends."""
    cables = set()
    for end in machine.dead_links:
        far, back = _far_end(machine, end)
        cables.add(frozenset({(*end[:3], int(end[3])), (*far, int(back))}))
    return cables


def _dead_links(machine: Machine, live: set[Board]) -> Iterator[tuple[str, str]]:
    one_way = []
    needless = []
    for x, y, z, link in sorted(machine.dead_links):
        far, back = _far_end(machine, (x, y, z, link))
        told = f"({x}, {y}, {z}, Links.{Links(link).name})"
        if (x, y, z) not in live or far not in live:
            needless.append(told)
        elif (*far, back) not in machine.dead_links:
            one_way.append(f"{told} but not ({far[0]}, {far[1]}, {far[2]}, Links.{back.name})")
    if one_way:
        yield (
            "warning",
            f"links dead at one end only; the whole cable is taken as dead: {listed(one_way)}",
        )
    if needless:
        yield (
            "warning",
            f"dead links of dead boards, which are dead without saying so: {listed(needless)}",
        )


def _torus(machine: Machine, live: set[Board]) -> Iterator[tuple[str, str]]:
    """Tell if dead links leave the machine no way around."""
    dead = dead_cables(machine)
    around = False
    for board, link in ((board, link) for board in live for link in Links):
        *far, wrap = board_down_link(*board, link, machine.width, machine.height)
        if wrap and tuple(far) in live:
            around = True
            ends = frozenset({(*board, int(link)), (far[0], far[1], far[2], int(link.opposite))})
            if ends not in dead:
                return
    if around:
        yield (
            "warning",
            "no wrap-around link lives: jobs with require_torus are refused",
        )


def _places(machine: Machine, _live: set[Board]) -> Iterator[tuple[str, str]]:
    places = machine.board_locations.items()
    beyond = sorted(place for _, place in places if place[2] >= _BOARDS_PER_FRAME)
    if beyond:
        yield (
            "warning",
            f"a frame has boards 0 to {_BOARDS_PER_FRAME - 1}, "
            f"but (cabinet, frame, board) are: {listed(beyond)}",
        )


def _frames(machine: Machine, _live: set[Board]) -> Iterator[tuple[str, str]]:
    used = {place[:2] for place in machine.board_locations.values()}
    unused = sorted(str(frame) for frame in machine.bmp_ips if frame not in used)
    if unused:
        yield "warning", f"frames with a BMP but no boards, (cabinet, frame): {listed(unused)}"
    shared = Counter((*machine.bmp_ips.values(), *set(machine.spinnaker_ips.values())))
    both = sorted(host for host, count in shared.items() if count > 1)
    if both:
        yield "warning", f"given for a BMP and for a board: {listed(both)}"


def _names(machine: Machine, _live: set[Board]) -> Iterator[tuple[str, str]]:
    if not machine.tags:
        yield "warning", "no tags: only jobs that name the machine can be given it"
    for name in (machine.name, *(tag for tag in machine.tags if isinstance(tag, str))):
        if name != name.strip() or not name.isprintable() or not name:
            yield "warning", f"{name!r} is hard to type: it is empty, or has spaces around it"
