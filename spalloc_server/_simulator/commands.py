"""The effects of the texts of `language` on frames, and their answers.

Every answer is made twice from the same values: as text for people and as plain builtins for
programs. Must not know sockets, threads or locks: the caller holds the frames still.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spalloc_server._simulator.fault_table import Faults
from spalloc_server._simulator.faults import BadText
from spalloc_server._simulator.frame import Frame
from spalloc_server._simulator.language import Instruction, help_text
from spalloc_server._simulator.seen import Entry, Log


class Answer(NamedTuple):
    """The answer to a command.

    Attributes
    ----------
    text : str
        For people; lines without a final newline.
    data : object
        The same as builtins that JSON can say.
    """

    text: str
    data: Any


def carry_out(
    instruction: Instruction, frames: Sequence[Frame], addresses: Mapping[str, str], log: Log
) -> Answer:
    """Carry out an instruction on frames.

    Parameters
    ----------
    instruction : Instruction
    frames : sequence of Frame
        Those it is for, advanced to now.
    addresses : mapping of str to str
        {name of frame: address}
    log : Log
        The log of all frames.

    Returns
    -------
    Answer

    Raises
    ------
    BadText
        If none of the frames has the boards named; then nothing was done.
    """
    frames = _with_boards(frames, instruction.boards)
    if instruction.command in _FAULT_CHANGES:
        for frame in frames:
            change_faults(instruction, frame.faults)
        return Answer("", {})
    if instruction.command in _CHANGES:
        for frame in frames:
            _CHANGES[instruction.command](instruction, frame)
        if instruction.command == "forget":
            log.forget(frozenset(frame.name for frame in frames))
        return Answer("", {})
    if instruction.command == "frames":
        return _frames(frames, addresses)
    if instruction.command == "seen":
        return _seen(instruction, frames, log)
    if instruction.command == "help":
        return Answer(help_text(), {"help": help_text()})
    return {"power": _power, "links": _links, "faults": _faults}[instruction.command](
        instruction, frames
    )


def _with_boards(frames: Sequence[Frame], boards: Sequence[int]) -> Sequence[Frame]:
    """Those frames that have all of these boards."""
    most = max(boards, default=0)
    chosen = [frame for frame in frames if most < len(frame.boards)]
    if frames and not chosen:
        frame = max(frames, key=lambda frame: len(frame.boards))
        raise BadText(f"{frame.name} has no board {most}, only 0 to {len(frame.boards) - 1}")
    return chosen


# --- changes ---


def change_faults(instruction: Instruction, faults: Faults) -> None:
    """Inject into or clear one table of faults, if the instruction does that."""
    for board in instruction.boards or (None,):
        if instruction.command == "clear":
            faults.clear(board, instruction.kinds)
        elif instruction.fault is not None:
            faults.inject(board, instruction.fault)


def _set_power(instruction: Instruction, frame: Frame) -> None:
    for board in instruction.boards or range(len(frame.boards)):
        frame.boards[board].set_power(bool(instruction.number))


def _forget(instruction: Instruction, frame: Frame) -> None:
    frame.seen.forget()
    for board in _boards(instruction, frame):
        frame.boards[board].forget()


_FAULT_CHANGES = ("inject", "clear")
_CHANGES = {"set-power": _set_power, "forget": _forget}


# --- answers ---


def _boards(instruction: Instruction, frame: Frame) -> Sequence[int]:
    return instruction.boards or range(len(frame.boards))


def ranges(numbers: Sequence[int]) -> str:
    """Text like ``0-3,7`` for ascending numbers; ``none`` if there are none."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}-{b}" if a != b else f"{a}" for a, b in parts) or "none"


def _frames(frames: Sequence[Frame], addresses: Mapping[str, str]) -> Answer:
    rows = [(f.name, addresses[f.name], len(f.boards)) for f in frames]
    text = "\n".join(
        f"{name} at {address}, boards {ranges(range(boards))}" for name, address, boards in rows
    )
    return Answer(
        text, {name: {"address": address, "boards": boards} for name, address, boards in rows}
    )


def _power(instruction: Instruction, frames: Sequence[Frame]) -> Answer:
    lines, data = [], {}
    for frame in frames:
        asked = _boards(instruction, frame)
        on = [board for board in asked if frame.boards[board].on]
        off = [board for board in asked if not frame.boards[board].on]
        lines.append(f"{frame.name}: on {ranges(on)}; off {ranges(off)}")
        data[frame.name] = {str(board): frame.boards[board].on for board in asked}
    return Answer("\n".join(lines), data)


def _links(instruction: Instruction, frames: Sequence[Frame]) -> Answer:
    lines, data = [], {}
    for frame in frames:
        data[frame.name] = {
            str(board): frame.boards[board].stopped_links
            for board in _boards(instruction, frame)
            if frame.boards[board].stopped_links
        }
        lines += [
            f"{frame.name} board {board}: {', '.join(links)}"
            for board, links in data[frame.name].items()
        ]
    return Answer("\n".join(lines) or "no stopped links", data)


def _faults(instruction: Instruction, frames: Sequence[Frame]) -> Answer:
    lines, data = [], {}
    for frame in frames:
        found = [
            f"{frame.name} {text}" if board is None else f"{frame.name} board {board} {text}"
            for board, text in frame.faults.list()
            if not instruction.boards or board in instruction.boards
        ]
        data[frame.name] = found
        lines += found
    return Answer("\n".join(lines) or "no faults", data)


def _seen(instruction: Instruction, frames: Sequence[Frame], log: Log) -> Answer:
    names = frozenset(frame.name for frame in frames)

    def wanted(entry: Entry) -> bool:
        return entry.frame in names and (
            not instruction.boards or not set(instruction.boards).isdisjoint(entry.boards())
        )

    entries = log.entries(wanted)
    shown = entries[max(0, len(entries) - instruction.number) :]
    lines, counts = [], {}
    for frame in frames:
        boards = {board: frame.boards[board] for board in _boards(instruction, frame)}
        counts[frame.name] = {
            "packets": dict(frame.seen.packets),
            "outcomes": dict(frame.seen.outcomes),
            "boards": {
                str(number): {
                    "on": board.times_on,
                    "off": board.times_off,
                    "writes_lost": board.writes_lost,
                }
                for number, board in boards.items()
            },
        }
        lines += _seen_lines(frame.name, counts[frame.name])
    return Answer(
        "\n".join([*lines, *map(str, shown)]),
        {"frames": counts, "log": [entry.plain() for entry in entries]},
    )


def _seen_lines(name: str, counts: Mapping[str, Any]) -> list[str]:
    def sums(numbers: Mapping[str, int]) -> str:
        return ", ".join(f"{word} {number}" for word, number in sorted(numbers.items())) or "none"

    lines = [f"{name}: packets {sums(counts['packets'])}; outcomes {sums(counts['outcomes'])}"]
    for board, times in counts["boards"].items():
        if any(times.values()):
            lines.append(
                f"{name} board {board}: switched on {times['on']}, off {times['off']}; "
                f"writes while off {times['writes_lost']}"
            )
    return lines
