"""The kinds of fault that a frame or a board can have, and how they are written.

Must not know the effects of a fault on packets (`frame`), nor which are in force (`fault_table`).

Every kind is a frozen dataclass that reads itself from words (`parse`) and writes itself as the
same words (`str`).
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from spalloc_server._simulator.board import FPGAS
from spalloc_server._simulator.packets import Command, Result


class BadText(ValueError):  # noqa: N818 - its text is all there is to it
    """A text that cannot be understood; names the word and those allowed."""


COMMAND_WORDS = {
    "version": Command.VERSION,
    "read": Command.LINK_READ,
    "write": Command.LINK_WRITE,
    "power": Command.POWER,
}
"""Names of the SCP commands in texts and answers."""


@dataclass(frozen=True)
class Fault(ABC):
    """One thing that is wrong; made by `parse_fault`.

    Attributes
    ----------
    kind : str
        First word of its text; a frame or board has at most one fault of a kind.
    usage : str
        The words that may follow, for people.
    explanation : str
        Its effect, for people.
    per_board : bool
        Whether `times` is counted for each board by itself.
    times : int or None
        How often it strikes; None for always.
    """

    kind: ClassVar[str]
    usage: ClassVar[str]
    explanation: ClassVar[str]
    per_board: ClassVar[bool] = False
    times: int | None = field(default=None, kw_only=True)

    @classmethod
    @abstractmethod
    def parse(cls, words: "Words") -> "Fault":
        """Make one of the words after `kind`; raises BadText."""

    def _details(self) -> Iterable[str]:
        return ()

    def __str__(self) -> str:
        times = () if self.times is None else (f"{self.times} times",)
        return " ".join((self.kind, *self._details(), *times))


class Words:
    """The words after a command, taken one after another.

    Parameters
    ----------
    command : str
        Named in errors.
    words : sequence of str
    usage : str
        Named in errors.
    """

    def __init__(self, command: str, words: Sequence[str], usage: str) -> None:
        self._command = command
        self._words = list(words)
        self._usage = usage

    def bad(self, what: str) -> BadText:
        """Error about these words, to be raised."""
        return BadText(f"{self._command}: {what}; usage: {self._command} {self._usage}".rstrip())

    def take(self) -> str | None:
        """Take the next word; None at the end."""
        return self._words.pop(0) if self._words else None

    def take_if(self, allowed: Iterable[str]) -> str | None:
        """Take the next word if it is one of these."""
        return self._words.pop(0) if self._words and self._words[0] in allowed else None

    def take_times(self) -> int | None:
        """Take ``N times`` (or ``once``) if that is next; None if not."""
        if self.take_if(["once"]):
            return 1
        if len(self._words) < 2 or self._words[1] not in ("times", "time"):
            return None
        number = self._words[0]
        if not re.fullmatch("[0-9]{1,9}", number) or int(number) == 0:
            raise self.bad(f"{number!r} is not a number of times; give 1, 2, 3, ...")
        del self._words[:2]
        return int(number)

    def end(self) -> None:
        """Refuse words that are left."""
        if self._words:
            raise self.bad(f"did not expect {' '.join(self._words)!r}")


@dataclass(frozen=True)
class Lose(Fault):
    """Packets are lost.

    A share of the requests goes unanswered: of these one half never arrives, and of the other
    half, which is carried out, the reply is lost. `which` leaves only one of both.
    """

    kind = "lose"
    usage = "SHARE [requests|replies]    (SHARE like 10% or 0.1)"
    explanation = "a share of the requests goes unanswered: lost themselves, or their replies"
    share: float
    which: str = "both"

    @classmethod
    def parse(cls, words: Words) -> "Lose":
        """``SHARE [requests|replies]``."""
        word = words.take() or ""
        match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)(%?)", word)
        share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
        if not 0 <= share <= 1:
            raise words.bad(f"{word!r} is not a share; give 0% to 100%, or 0.0 to 1.0")
        return cls(share, words.take_if(["requests", "replies"]) or "both")

    def _details(self) -> Iterable[str]:
        yield f"{self.share * 100:g}%"
        if self.which != "both":
            yield self.which


@dataclass(frozen=True)
class Silent(Fault):
    """Nothing is heard and nothing answered."""

    kind = "silent"
    usage = ""
    explanation = "hears nothing, answers nothing (also: mute)"

    @classmethod
    def parse(cls, words: Words) -> "Silent":  # noqa: ARG003 - takes none
        """No words."""
        return cls()


@dataclass(frozen=True)
class Error(Fault):
    """Requests are answered with an error and not carried out."""

    kind = "error"
    usage = f"CODE [{'|'.join(COMMAND_WORDS)}] [N times]    (CODE 0x81 to 0x8f, or like ARG)"
    explanation = "answers an error instead of carrying out requests (of one command)"
    code: Result
    command: Command | None = None

    @classmethod
    def parse(cls, words: Words) -> "Error":
        """``CODE [command] [N times]``."""
        word = words.take() or ""
        name = word.upper().removeprefix("RC_")
        number = int(word, 16) if re.fullmatch("0x[0-9a-fA-F]{2}", word) else None
        codes = [
            code
            for code in Result
            if code is not Result.OK and (code.name == name or code == number)
        ]
        if not codes:
            raise words.bad(
                f"{word!r} is not an error; give 0x81 to 0x8f or one of {_names_of_errors()}"
            )
        command = words.take_if(COMMAND_WORDS)
        return cls(codes[0], COMMAND_WORDS[command] if command else None, times=words.take_times())

    def _details(self) -> Iterable[str]:
        yield f"{self.code:#x}"
        if self.command is not None:
            yield command_word(self.command)


def _names_of_errors() -> str:
    return ", ".join(code.name for code in Result if code is not Result.OK)


def command_word(command: int) -> str:
    """Name of an SCP command in texts: one of `COMMAND_WORDS`, or ``command-N``."""
    for word, known in COMMAND_WORDS.items():
        if known == command:
            return word
    return f"command-{command}"


@dataclass(frozen=True)
class Slow(Fault):
    """Replies come late."""

    kind = "slow"
    usage = "SECONDS    (0 to 3600)"
    explanation = "replies come SECONDS later; boards switch only then"
    seconds: float

    @classmethod
    def parse(cls, words: Words) -> "Slow":
        """``SECONDS``."""
        word = words.take() or ""
        seconds = float(word) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,9})?", word) else math.inf
        if seconds > 3600:
            raise words.bad(f"{word!r} is not a number of seconds; give 0 to 3600")
        return cls(seconds)

    def _details(self) -> Iterable[str]:
        yield f"{self.seconds:g}"


@dataclass(frozen=True)
class WrongFPGA(Fault):
    """FPGAs come up with a number that is not theirs."""

    kind = "fpga-wrong"
    usage = "[0|1|2] [N times]    (which FPGA, else all three)"
    explanation = "FPGAs come up wrong at the next power-ons, counted per board"
    per_board = True
    fpga: int | None = None

    @classmethod
    def parse(cls, words: Words) -> "WrongFPGA":
        """``[FPGA] [N times]``."""
        times = words.take_times()
        if times is not None:
            return cls(times=times)
        fpga = words.take_if(map(str, range(FPGAS)))
        return cls(None if fpga is None else int(fpga), times=words.take_times())

    @property
    def fpgas(self) -> frozenset[int]:
        """The FPGAs that come up wrong."""
        return frozenset(range(FPGAS) if self.fpga is None else [self.fpga])

    def _details(self) -> Iterable[str]:
        if self.fpga is not None:
            yield str(self.fpga)


@dataclass(frozen=True)
class RefusePower(Fault):
    """A board does not switch, and the power command is answered with an error."""

    kind = "refuse-power"
    usage = "[on|off] [N times]"
    explanation = "does not switch, answers 0x89 (DEAD), counted per board"
    per_board = True
    on: bool | None = None

    @classmethod
    def parse(cls, words: Words) -> "RefusePower":
        """``[on|off] [N times]``."""
        word = words.take_if(["on", "off"])
        return cls(None if word is None else word == "on", times=words.take_times())

    def _details(self) -> Iterable[str]:
        if self.on is not None:
            yield "on" if self.on else "off"


@dataclass(frozen=True)
class Version(Fault):
    """The BMP has other software; before 2.0.0 it has no FPGA registers."""

    kind = "version"
    usage = "[X.Y.Z]    (1.3.1 if not given)"
    explanation = "runs other software; before 2.0.0 a BMP knows no FPGA registers (also: old)"
    version: tuple[int, int, int] = (1, 3, 1)

    @classmethod
    def parse(cls, words: Words) -> "Version":
        """``[X.Y.Z]``."""
        word = words.take()
        if word is None:
            return cls()
        match = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})", word)
        if match is None:
            raise words.bad(f"{word!r} is not a version; give three numbers like 1.3.1")
        return cls((int(match[1]), int(match[2]), int(match[3])))

    def _details(self) -> Iterable[str]:
        yield ".".join(map(str, self.version))


KINDS: dict[str, type[Fault]] = {
    kind.kind: kind for kind in (Lose, Silent, Error, Slow, WrongFPGA, RefusePower, Version)
}
"""All kinds of fault by their first word."""

SYNONYMS = {"mute": "silent", "old": "version"}
"""Other first words."""


def parse_fault(words: Sequence[str]) -> Fault:
    """Read a fault.

    Parameters
    ----------
    words : sequence of str
        Its kind (or a synonym), then the words of its usage.

    Returns
    -------
    Fault

    Raises
    ------
    BadText
        Naming the word and those allowed.
    """
    kind = KINDS[SYNONYMS.get(words[0], words[0])]
    rest = Words(kind.kind, words[1:], kind.usage)
    fault = kind.parse(rest)
    rest.end()
    return fault
