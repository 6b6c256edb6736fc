"""The texts that steer a simulation: ``[FRAME|all] [board N] COMMAND ...``.

One grammar for ``--fault``, the control socket and `Simulation.inject`. Owns reading them; must
not know their effects: `commands` carries them out.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from spalloc_server._simulator.faults import KINDS, SYNONYMS, BadText, Fault, Words, parse_fault
from spalloc_server._simulator.frame import MAX_BOARDS

EVERY = "all"
"""Word for all frames."""

COMMANDS = {
    "clear": ("[KIND ...]", "end the faults (of these kinds)"),
    "faults": ("", "show the faults in force"),
    "frames": ("", "show which address serves which host name"),
    "power": ("", "show which boards are on"),
    "set-power": ("on|off", "switch boards, without counting it as a power command"),
    "links": ("", "show which links are stopped"),
    "seen": ("[N]", "show packets and power commands counted, and the last N (20) packets"),
    "forget": ("", "count packets, and log them, from now on"),
    "help": ("", "show this"),
}
"""{command: (usage, explanation)} of those that are not faults."""

_BOARDS = ("board", "boards")
_SHOWN = 20  # packets; fits on a screen


class Instruction(NamedTuple):
    """A text, understood.

    Attributes
    ----------
    frame : str or None
        Name or address of the frame; None for all, also those yet to come.
    boards : tuple of int
        Only these boards; empty for all or for the frame as such.
    command : str
        One of `COMMANDS`, or ``inject``.
    fault : Fault or None
        To be injected.
    kinds : tuple of str
        To be cleared.
    number : int
        How many packets to show; for ``set-power`` 1 or 0.
    """

    frame: str | None
    boards: tuple[int, ...]
    command: str
    fault: Fault | None = None
    kinds: tuple[str, ...] = ()
    number: int = 0


def read(text: str, frames: Collection[str], *, unseen: bool = False) -> Instruction:
    """Read a text.

    Parameters
    ----------
    text : str
        One line.
    frames : collection of str
        Names and addresses by which frames are known.
    unseen : bool
        Whether other names are frames yet to be seen.

    Returns
    -------
    Instruction

    Raises
    ------
    BadText
        Naming the wrong word and those allowed.
    """
    words = text.split()
    if not words:
        raise BadText(f"nothing to do; commands are {_names()}")
    frame: str | None = None
    # A frame's name wins over a command's, so that no frame is out of reach.
    if words[0] in frames or (unseen and words[0] not in [EVERY, *_BOARDS, *_known_words()]):
        frame = words.pop(0)
    elif words[0] == EVERY:
        words.pop(0)
    boards: tuple[int, ...] = ()
    if words and words[0] in _BOARDS:
        boards = _boards(words[1] if len(words) > 1 else "")
        del words[:2]
    if not words:
        raise BadText(f"{text!r}: a command is missing; commands are {_names()}")
    if words[0] not in _known_words():
        known = ", ".join([*sorted(frames), EVERY])
        raise BadText(
            f"{words[0]!r} is neither a frame nor a command; frames are {known}; "
            f"commands are {_names()}"
        )
    return _read_command(frame, boards, words)


def _read_command(frame: str | None, boards: tuple[int, ...], words: list[str]) -> Instruction:
    command = words[0]
    if command in KINDS or command in SYNONYMS:
        return Instruction(frame, boards, "inject", fault=parse_fault(words))
    rest = Words(command, words[1:], COMMANDS[command][0])
    kinds: tuple[str, ...] = ()
    number = 0
    if command == "clear":
        kinds = tuple(_kinds(rest))
    elif command == "seen":
        number = _number(rest)
    elif command == "set-power":
        word = rest.take()
        if word not in ("on", "off"):
            raise rest.bad(f"{word or ''!r} is neither on nor off")
        number = int(word == "on")
    rest.end()
    return Instruction(frame, boards, command, kinds=kinds, number=number)


def _boards(text: str) -> tuple[int, ...]:
    """Boards of a text like ``0-3,7``."""
    boards: list[int] = []
    for part in text.split(","):
        match = re.fullmatch("([0-9]{1,2})(?:-([0-9]{1,2}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < MAX_BOARDS:
            raise BadText(
                f"board {text!r} is not known; give a number from 0 to {MAX_BOARDS - 1}, "
                "a range like 0-3, or a list like 0,2"
            )
        boards.extend(range(first, last + 1))
    return tuple(dict.fromkeys(boards))


def _kinds(words: Words) -> list[str]:
    kinds = []
    while (word := words.take()) is not None:
        kind = SYNONYMS.get(word, word)
        if kind not in KINDS:
            raise words.bad(f"{word!r} is not a kind of fault; kinds are {', '.join(KINDS)}")
        kinds.append(kind)
    return kinds


def _number(words: Words) -> int:
    word = words.take()
    if word is None:
        return _SHOWN
    if not re.fullmatch("[0-9]{1,5}", word):
        raise words.bad(f"{word!r} is not a number of packets")
    return int(word)


def _known_words() -> list[str]:
    return [*KINDS, *SYNONYMS, *COMMANDS]


def _names() -> str:
    return ", ".join([*KINDS, *COMMANDS])


def help_text() -> str:
    """All commands and faults, for people."""
    rows = [(f"{name} {usage}".rstrip(), text) for name, (usage, text) in COMMANDS.items()]
    rows += [(f"{name} {kind.usage}".rstrip(), kind.explanation) for name, kind in KINDS.items()]
    lines = [f"  {usage}\n      {text}" for usage, text in rows]
    return "\n".join(
        [
            "[FRAME|all] [board N|N-N|N,N] COMMAND     (all frames if none is named)",
            *lines,
        ]
    )
