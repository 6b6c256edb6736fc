"""Talks to one BMP: SCP in SDP in UDP, one question and its answer at a time.

The one module that uses SpiNNMan: its connection and message classes make and read the
packets, so that another release is adopted here. It is imported when a frame is first
talked to: start-up does not wait for it. Owns the socket, the sending again, the
matching of answers, and when the FPGAs of boards that it switched on can be used. Knows
nothing of requests, versions or links.

SpiNNMan's own sending (`SendSingleCommandProcess`) is not used: it counts every packet's
wait anew, so that strays prolong it, dies of a packet that it cannot read, waits without
a way to interrupt it, and shares its sequence numbers and their lock among all threads.
"""

# ruff: noqa: ARG002 - cabinet and frame are part of the interface, and always 0

from __future__ import annotations

import functools
import logging
import random
import struct
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from spalloc_server import _clock
from spalloc_server._bmp import wiring
from spalloc_server._bmp.interface import (
    AbandonedError,
    BMPAnswerError,
    BMPSilentError,
    BMPVersion,
    ShortageError,
    describe,
    shortage,
)
from spalloc_server._bmp.name_lookup import LONGEST_NAP, ipv4_address, no_descriptors

if TYPE_CHECKING:
    from spinnman.connections.udp_packet_connections import BMPConnection
    from spinnman.exceptions import SpinnmanIOException, SpinnmanTimeoutException
    from spinnman.messages.scp.abstract_messages import AbstractSCPRequest, AbstractSCPResponse
    from spinnman.messages.scp.enums import PowerCommand
    from spinnman.messages.scp.impl import (
        BMPGetVersion,
        ReadFPGARegister,
        SetPower,
        WriteFPGARegister,
    )
    from spinnman.model import BMPConnectionData

    _Response = TypeVar("_Response", bound=AbstractSCPResponse)

_log = logging.getLogger(__name__)

#: UDP port of a BMP's SCP.
BMP_PORT = 17893

# How long, in seconds, an answer is waited for after each time that a command is sent.
# Answers to an earlier copy count too, so a slow BMP has the sum of them. Power-on may
# take 10 s; it is sent again before that, as a lost packet would else cost 10 s, but not
# so soon that a BMP that takes its few seconds sees every command twice. Power-off takes
# 0.5 s at most, so half of its wait is slack.
_REGISTER_WAITS = (0.5, 0.5, 1.0, 1.0)
_POWER_ON_WAITS = (5.0, 5.0, 5.0, 10.0)
_POWER_OFF_WAITS = (1.0, 1.0, 1.0, 1.0)

#: Results that say "not now"; the command is sent again after this many seconds.
_PASSING_RESULTS = frozenset(("RC_LEN", "RC_TIMEOUT", "RC_P2P_NOREPLY", "RC_P2P_TIMEOUT"))
_PASSING_RESULT_PAUSE = 0.1

#: Seconds for which a packet is awaited that ought to be there already.
_NO_TIME = 0.001

#: Result and sequence number come after 2 zero bytes and 8 of SDP header.
_RESULT_AND_SEQUENCE = struct.Struct("<10x2H")
_RESPONSE_OFFSET = 2
_OK = 0x80


class _PassingError(BMPAnswerError):
    """The BMP answered that it could not just now."""


class _SpiNNMan(NamedTuple):
    """The parts of SpiNNMan that are used."""

    connection: type[BMPConnection]
    connection_data: type[BMPConnectionData]
    io_error: type[SpinnmanIOException]
    timeout_error: type[SpinnmanTimeoutException]
    power_command: type[PowerCommand]
    set_power: type[SetPower]
    get_version: type[BMPGetVersion]
    read_fpga_register: type[ReadFPGARegister]
    write_fpga_register: type[WriteFPGARegister]


def prepare() -> None:
    """Import SpiNNMan now rather than at first use; from any thread, again for nothing."""
    _spinnman()


@functools.cache
def _spinnman() -> _SpiNNMan:
    """Import SpiNNMan, at first use."""
    from spinnman.connections.udp_packet_connections import BMPConnection  # noqa: PLC0415
    from spinnman.exceptions import (  # noqa: PLC0415
        SpinnmanIOException,
        SpinnmanTimeoutException,
    )
    from spinnman.messages.scp.enums import PowerCommand  # noqa: PLC0415
    from spinnman.messages.scp.impl import (  # noqa: PLC0415
        BMPGetVersion,
        ReadFPGARegister,
        SetPower,
        WriteFPGARegister,
    )
    from spinnman.model import BMPConnectionData  # noqa: PLC0415

    return _SpiNNMan(
        connection=BMPConnection,
        connection_data=BMPConnectionData,
        io_error=SpinnmanIOException,
        timeout_error=SpinnmanTimeoutException,
        power_command=PowerCommand,
        set_power=SetPower,
        get_version=BMPGetVersion,
        read_fpga_register=ReadFPGARegister,
        write_fpga_register=WriteFPGARegister,
    )


class FPGAWait:
    """Boards that were switched on and configure their FPGAs.

    Parameters
    ----------
    over_at : float
        See below.

    Attributes
    ----------
    over_at : float
        Monotonic time from which on the FPGAs can be used. It moves if the BMP turns
        out to have carried the command out once more.
    """

    __slots__ = ("over_at",)

    def __init__(self, over_at: float) -> None:
        self.over_at = over_at


class Transceiver:
    """Talks to the BMP of one frame; used by one thread, which may be made to give up.

    Nothing is sent, resolved or opened before the first command. The socket is kept from
    then on, until a command is not answered: the next one resolves the host anew.

    Parameters
    ----------
    hostname : str
        BMP host as configured; `_bmp.wiring.resolve` names the one to talk to instead.
    abandoned : threading.Event, optional
        Once it is set, every wait ends with `AbandonedError` within half a second.
    """

    def __init__(self, hostname: str, abandoned: threading.Event | None = None) -> None:
        self._hostname = hostname
        self._abandoned = threading.Event() if abandoned is None else abandoned
        self._connection: BMPConnection | None = None
        # By sequence number: power-ons of boards that may still configure their FPGAs.
        self._waits: dict[int, FPGAWait] = {}
        # Anywhere: a BMP may remember the numbers of this port's user before us.
        self._sequence = random.randrange(0x10000)

    def close(self) -> None:
        """Close the socket, if any; the next command opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- commands ---

    def power_on(self, *, boards: Sequence[int], frame: int = 0, cabinet: int = 0) -> None:
        """Power boards on and wait until their FPGAs can be used.

        Parameters
        ----------
        boards : sequence of int
            Boards of the frame, each once.
        frame, cabinet : int, optional
            Always 0.

        Raises
        ------
        BMPSilentError, BMPAnswerError, AbandonedError
        """
        wait = self.begin_power_on(boards=boards)
        while wait.over_at > _clock.monotonic():
            try:
                self._receive(self._connected(), None, wait.over_at)
            except _spinnman().io_error as error:
                _log.debug("%s: %s", self._hostname, error)
                self._pause(wait.over_at - _clock.monotonic())

    def begin_power_on(self, *, boards: Sequence[int]) -> FPGAWait:
        """Power boards on; other commands may be given while their FPGAs configure.

        If the command has to be sent more than once, the BMP may carry out the other
        copy later: an answer to it, seen during any other command or by
        `take_late_answers`, begins the wait anew.

        Parameters
        ----------
        boards : sequence of int
            Boards of the frame, each once.

        Returns
        -------
        FPGAWait
            When the FPGAs can be used.

        Raises
        ------
        BMPSilentError, BMPAnswerError, AbandonedError
        """
        spinnman = _spinnman()
        command = spinnman.set_power(spinnman.power_command.POWER_ON, list(boards))
        self._ask(command, _POWER_ON_WAITS)
        now = _clock.monotonic()
        wait = FPGAWait(now + wiring.fpga_wait)
        self._waits = {number: w for number, w in self._waits.items() if w.over_at > now}
        self._waits[command.scp_request_header.sequence] = wait
        return wait

    def take_late_answers(self) -> None:
        """Read the packets that have arrived since the last command, without waiting."""
        if self._connection is None:
            return
        try:
            while self._next_packet(self._connection, _NO_TIME) is not None:
                pass
        except _spinnman().io_error as error:
            _log.debug("%s: %s", self._hostname, error)

    def power_off(self, *, boards: Sequence[int], frame: int = 0, cabinet: int = 0) -> None:
        """Power boards off.

        Parameters
        ----------
        boards : sequence of int
            Boards of the frame, each once.
        frame, cabinet : int, optional
            Always 0.

        Raises
        ------
        BMPSilentError, BMPAnswerError, AbandonedError
        """
        spinnman = _spinnman()
        command = spinnman.set_power(spinnman.power_command.POWER_OFF, list(boards))
        self._ask(command, _POWER_OFF_WAITS)

    def read_fpga_register(
        self, *, fpga_num: int, register: int, board: int, cabinet: int = 0, frame: int = 0
    ) -> int:
        """Read one register of an FPGA.

        Parameters
        ----------
        fpga_num : int
            0 to 2.
        register : int
            Address.
        board : int
        cabinet, frame : int, optional
            Always 0.

        Returns
        -------
        int
            32 bit, unsigned.

        Raises
        ------
        BMPSilentError, BMPAnswerError, AbandonedError
        """
        command = _spinnman().read_fpga_register(fpga_num, register, board)
        return self._ask(command, _REGISTER_WAITS).fpga_register

    def write_fpga_register(
        self,
        fpga: int,
        register: int,
        value: int,
        *,
        board: int,
        frame: int = 0,
        cabinet: int = 0,
    ) -> None:
        """Write one register of an FPGA.

        Parameters
        ----------
        fpga : int
            0 to 2.
        register : int
            Address.
        value : int
            32 bit, unsigned.
        board : int
        frame, cabinet : int, optional
            Always 0.

        Raises
        ------
        BMPSilentError, BMPAnswerError, AbandonedError
        """
        command = _spinnman().write_fpga_register(fpga, register, value, board)
        self._ask(command, _REGISTER_WAITS)

    def read_bmp_version(self, *, board: int, frame: int = 0, cabinet: int = 0) -> BMPVersion:
        """Ask a board for its BMP's version.

        Parameters
        ----------
        board : int
        frame, cabinet : int, optional
            Always 0.

        Returns
        -------
        VersionInfo
            With `version_number`, a tuple (major, minor, patch).

        Raises
        ------
        BMPSilentError, BMPAnswerError, AbandonedError
        """
        return self._ask(_spinnman().get_version(board), _REGISTER_WAITS).version_info

    # --- asking ---

    def _ask(self, command: AbstractSCPRequest[_Response], waits: Sequence[float]) -> _Response:
        """Send a command until it is answered, once for each of `waits`."""
        connection = self._connected()
        sequence = self._sequence = (self._sequence + 1) & 0xFFFF
        command.scp_request_header.sequence = sequence
        data = connection.get_scp_data(command)
        passing: BMPAnswerError | None = None
        for wait in waits:
            try:
                answer = self._exchange(connection, command, data, wait)
            except _PassingError as error:
                passing = error
                self._pause(_PASSING_RESULT_PAUSE)
                continue
            if answer is not None:
                return answer
        if passing is not None:
            raise passing
        self.close()
        raise BMPSilentError("no answer")

    def _exchange(
        self,
        connection: BMPConnection,
        command: AbstractSCPRequest[_Response],
        data: bytes,
        wait: float,
    ) -> _Response | None:
        """Send one packet and wait for its answer; None if none came in time."""
        deadline = _clock.monotonic() + wait
        try:
            connection.send(data)
            return self._receive(connection, command, deadline)
        except _spinnman().io_error as error:
            if (lack := shortage(error)) is not None:
                raise ShortageError(lack) from error
            # Such as "connection refused": nobody is there now, but may be soon.
            _log.debug("%s: %s", self._hostname, error)
        self._pause(deadline - _clock.monotonic())
        return None

    def _receive(
        self,
        connection: BMPConnection,
        command: AbstractSCPRequest[_Response] | None,
        deadline: float,
    ) -> _Response | None:
        """Wait for the answer to one command, or for none; other packets are thrown away.

        So are answers that were cut short: the next copy of the command is answered too.
        """
        while (left := deadline - _clock.monotonic()) > 0:
            self._check_abandoned()
            packet = self._next_packet(connection, min(left, LONGEST_NAP))
            if packet is None or command is None:
                continue
            if _sequence_of(packet) == command.scp_request_header.sequence:
                answer = self._read(command, packet)
                if answer is not None:
                    return answer
        return None

    def _next_packet(self, connection: BMPConnection, seconds: float) -> bytes | None:
        """Receive a packet; one that answers a past power-on begins its wait anew."""
        try:
            packet = connection.receive(seconds)
        except _spinnman().timeout_error:
            return None
        wait = self._waits.get(_sequence_of(packet))
        if wait is not None:
            wait.over_at = _clock.monotonic() + wiring.fpga_wait
        return packet

    def _read(self, command: AbstractSCPRequest[_Response], packet: bytes) -> _Response | None:
        """Read an answer; None if it is incomplete."""
        response = command.get_scp_response()
        try:
            response.read_bytestring(packet, _RESPONSE_OFFSET)
        except Exception as error:
            result, _ = _RESULT_AND_SEQUENCE.unpack_from(packet)
            name = getattr(error, "response", None)
            if name is None and result == _OK:
                _log.debug("%s: answer of %d bytes: %s", self._hostname, len(packet), error)
                return None
            kind = _PassingError if name in _PASSING_RESULTS else BMPAnswerError
            asked = repr(command).rpartition(".")[2]
            told = name or f"with the unknown result {result}"
            raise kind(f"{asked} answered {told}") from error
        if isinstance(command, _spinnman().get_version) and not packet.endswith(b"\0"):
            # The text at its end was cut off, and with it maybe a digit of the version.
            return None
        return response

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._abandoned.wait(seconds)
        self._check_abandoned()

    def _check_abandoned(self) -> None:
        if self._abandoned.is_set():
            raise AbandonedError

    # --- connecting ---

    def _connected(self) -> BMPConnection:
        """Return the connection, opened if there is none."""
        if self._connection is None:
            spinnman = _spinnman()
            try:
                host = wiring.resolve(self._hostname)
                address = ipv4_address(host, self._check_abandoned)
                self._connection = spinnman.connection(
                    spinnman.connection_data(0, 0, address, (), BMP_PORT)
                )
            except AbandonedError:
                raise
            except Exception as error:
                if (lack := shortage(error) or no_descriptors()) is not None:
                    raise ShortageError(lack) from error
                raise BMPSilentError(f"cannot be reached: {describe(error)}") from error
        return self._connection


def _sequence_of(packet: bytes) -> int:
    """Sequence number of an answer; -1 if it is too short to have one."""
    if len(packet) < _RESULT_AND_SEQUENCE.size:
        return -1
    sequence: int = _RESULT_AND_SEQUENCE.unpack_from(packet)[1]
    return sequence
