"""One frame's hardware as a batch sees it: power, FPGA checks, links.

Owns all that is known of the frame: its boards' versions, whether it answers, and
counts of the commands. Belongs to the frame's thread. Knows nothing of requests or
queues.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from spalloc_server._bmp import wiring
from spalloc_server._bmp.interface import (
    AbandonedError,
    BMPAnswerError,
    BMPSilentError,
    BMPTransceiver,
    is_silence,
    shortage,
)
from spalloc_server._bmp.requests import LinkRequest
from spalloc_server._bmp.transceiver import FPGAWait, Transceiver
from spalloc_server.links import Links

_Answer = TypeVar("_Answer")

#: Where a link is stopped: {link: (FPGA, register address)}; 1 stops it, 0 lets it run.
#: Source: spio project, spinnaker_fpgas design, SPI interface.
FPGA_LINK_STOP_REGISTERS: dict[Links, tuple[int, int]] = {
    Links.east: (0, 0x0000005C),
    Links.south: (0, 0x0001005C),
    Links.south_west: (1, 0x0000005C),
    Links.west: (1, 0x0001005C),
    Links.north: (2, 0x0000005C),
    Links.north_east: (2, 0x0001005C),
}

#: Its low two bits are the FPGA's own number once it has configured properly.
FPGA_FLAG_REGISTER = 0x00040004
FPGA_FLAG_ID_MASK = 0x3
FPGAS_PER_BOARD = 3

#: Seconds between tries while this computer lacks something; the last one is repeated.
_PAUSES_IN_SHORTAGE = (0.1, 0.2, 0.5, 1.0, 2.0)  # arbitrary

#: Times that an idle frame is asked before it counts as silent.
_QUESTIONS_TO_IDLE_FRAMES = 3

#: A BMP older than this has no FPGA registers.
FIRST_BMP_WITH_FPGAS = 2


class FrameSilentError(Exception):
    """The frame does not answer at all."""


class BoardSilentError(Exception):
    """One board does not answer, though its frame does."""


@dataclass
class FrameStatistics:
    """Counts of one frame's work since its thread started.

    Attributes
    ----------
    requests : int
        AtomicRequests queued.
    power_commands : int
        Power commands given, whether they were answered or not.
    link_writes : int
        Links set or tried to set.
    retries : int
        Requests that failed once and were tried again.
    failures : int
        Requests that failed for good.
    shortages : int
        Times that this computer lacked something to talk to the frame.
    """

    requests: int = 0
    power_commands: int = 0
    link_writes: int = 0
    retries: int = 0
    failures: int = 0
    shortages: int = 0


class FrameHardware:
    """The boards behind one BMP.

    Parameters
    ----------
    transceiver : callable
        Gives the object that talks to the BMP, asked at each use.
    abandoned : threading.Event
        Once it is set nothing more is sent.
    statistics : FrameStatistics
        Counted up.
    on_answering_change : callable
        ``on_answering_change(answering)`` when the frame falls silent or answers again.
    on_shortage : callable
        ``on_shortage(lack)`` when this computer lacks something to talk to the frame, and
        ``on_shortage(None)`` when it does no more.

    Attributes
    ----------
    answering : bool or None
        Whether the frame answered when last asked; None before that.
    shortage : str or None
        The thing that is lacking now.
    """

    def __init__(
        self,
        transceiver: Callable[[], BMPTransceiver],
        abandoned: threading.Event,
        statistics: FrameStatistics,
        on_answering_change: Callable[[bool], None],
        on_shortage: Callable[[str | None], None],
    ) -> None:
        self.answering: bool | None = None
        self._transceiver = transceiver
        self._abandoned = abandoned
        self._statistics = statistics
        self._on_answering_change = on_answering_change
        self._on_shortage = on_shortage
        self.shortage: str | None = None
        self._major_versions: dict[int, int] = {}

    def power(self, on: bool, boards: list[int]) -> FPGAWait | None:
        """Power boards on or off.

        Parameters
        ----------
        on : bool
            True for on.
        boards : list of int
            At least one, each once.

        Returns
        -------
        FPGAWait or None
            After power-on: when the FPGAs can be used; None if they can be used now.

        Raises
        ------
        FrameSilentError
            If there was no answer.
        AbandonedError
            If the thread was told to give up.
        Exception
            Anything else says that the command was refused.
        """
        self._statistics.power_commands += 1
        try:
            return self._ask(lambda: self._switch(on, boards))
        except BMPSilentError as error:
            self._fell_silent()
            raise FrameSilentError from error

    def _switch(self, on: bool, boards: list[int]) -> FPGAWait | None:
        transceiver = self._transceiver()
        # A stand-in or a subclass may count on the wait being inside.
        if on and wiring.overlap_power_on and type(transceiver) is Transceiver:
            return transceiver.begin_power_on(boards=boards)
        command = transceiver.power_on if on else transceiver.power_off
        command(boards=boards, frame=0, cabinet=0)
        return None

    def take_late_answers(self) -> None:
        """Have late answers to power-ons move the ends of their waits."""
        transceiver = self._transceiver()
        if type(transceiver) is Transceiver:
            transceiver.take_late_answers()

    def wrong_fpgas(self, board: int) -> str | None:
        """Check that a board's FPGAs have configured properly.

        Parameters
        ----------
        board : int

        Returns
        -------
        str or None
            The fault; None if there is none, or if the board's BMP cannot tell.

        Raises
        ------
        FrameSilentError, AbandonedError, Exception
            As for `power`; other exceptions are the board's fault.
        """
        if not self._has_fpga_registers(board):
            return None
        wrong = []
        for fpga in range(FPGAS_PER_BOARD):
            flags = self._read(board, fpga, FPGA_FLAG_REGISTER)
            if flags & FPGA_FLAG_ID_MASK != fpga:
                wrong.append(f"FPGA {fpga} says {flags & FPGA_FLAG_ID_MASK}")
        return ", ".join(wrong) or None

    def set_link(self, link: LinkRequest) -> None:
        """Stop a link or let it run, if the board's BMP can.

        Parameters
        ----------
        link : LinkRequest

        Raises
        ------
        FrameSilentError, AbandonedError, Exception
            As for `power`; other exceptions are the board's fault.
        """
        board, which, enable = link
        if not self._has_fpga_registers(board):
            return
        fpga, register = FPGA_LINK_STOP_REGISTERS[which]
        self._statistics.link_writes += 1
        self._ask_board(
            lambda: self._transceiver().write_fpga_register(
                fpga, register, int(not enable), board=board, frame=0, cabinet=0
            )
        )

    def probe(self) -> bool:
        """Find out whether the frame answers, by asking board 0 for its version.

        Returns
        -------
        bool
            True if it does.

        Raises
        ------
        AbandonedError
            If the thread was told to give up.
        """
        answers = self._answers()
        if not answers:
            self._fell_silent()
        return answers

    def ask(self) -> None:
        """Find out whether an idle frame still answers.

        Losing packets is no silence: it is asked more often than another frame that is
        known to have fallen silent.
        """
        for _ in range(_QUESTIONS_TO_IDLE_FRAMES):
            if self._answers():
                return
        self._fell_silent()

    def forget(self, boards: frozenset[int]) -> None:
        """Ask boards for their versions again at next use: something failed there."""
        for board in boards:
            self._major_versions.pop(board, None)

    # --- helpers ---

    def _answers(self) -> bool:
        """Ask board 0 for its version; whether there was an answer of any kind."""
        try:
            self._ask(lambda: self._transceiver().read_bmp_version(board=0, frame=0, cabinet=0))
        except AbandonedError:
            raise
        except BMPSilentError:
            return False
        except Exception:  # noqa: BLE001 - one hardware request; no exception but these is silence
            self._set_answering(True)
        return True

    def _has_fpga_registers(self, board: int) -> bool:
        major = self._major_versions.get(board)
        if major is None:
            version = self._ask_board(
                lambda: self._transceiver().read_bmp_version(board=board, frame=0, cabinet=0)
            )
            major = self._major_versions[board] = version.version_number[0]
        return major >= FIRST_BMP_WITH_FPGAS

    def _read(self, board: int, fpga: int, register: int) -> int:
        return self._ask_board(
            lambda: self._transceiver().read_fpga_register(
                fpga_num=fpga, register=register, board=board, cabinet=0, frame=0
            )
        )

    def _ask_board(self, call: Callable[[], _Answer]) -> _Answer:
        """Ask one board, and tell its own silence from that of its frame.

        If the frame answers, the board is asked once more: with every tenth packet lost a
        job over a whole frame, with its hundreds of commands, would fail too often if
        four copies of each were all.
        """
        with contextlib.suppress(BMPSilentError):
            return self._ask(call)
        if not self.probe():
            raise FrameSilentError
        try:
            return self._ask(call)
        except BMPSilentError as error:
            if not self.probe():
                raise FrameSilentError from error
            raise BoardSilentError("no answer") from error

    def _ask(self, call: Callable[[], _Answer]) -> _Answer:
        """Ask anything; silence of any kind is a BMPSilentError.

        While this computer lacks something, which is no fault of the frame, it is tried
        again and again.
        """
        pauses = itertools.chain(_PAUSES_IN_SHORTAGE, itertools.repeat(_PAUSES_IN_SHORTAGE[-1]))
        while True:
            if self._abandoned.is_set():
                raise AbandonedError
            try:
                answer = call()
            except BMPAnswerError:
                self._set_shortage(None)
                self._set_answering(True)
                raise
            except Exception as error:
                if (lack := shortage(error)) is None:
                    self._set_shortage(None)
                    if is_silence(error):
                        raise BMPSilentError("no answer") from error
                    raise
                self._set_shortage(lack)
                self._abandoned.wait(next(pauses))
                continue
            break
        if self._abandoned.is_set():
            raise AbandonedError
        self._set_shortage(None)
        self._set_answering(True)
        return answer

    def _set_shortage(self, lack: str | None) -> None:
        before, self.shortage = self.shortage, lack
        if lack is not None and lack != before:
            self._statistics.shortages += before is None
            self._on_shortage(lack)
        elif lack is None and before is not None:
            self._on_shortage(None)

    def _fell_silent(self) -> None:
        self._major_versions.clear()
        self._set_answering(False)

    def _set_answering(self, answering: bool) -> None:
        before, self.answering = self.answering, answering
        if answering is not before and not (answering and before is None):
            self._on_answering_change(answering)
