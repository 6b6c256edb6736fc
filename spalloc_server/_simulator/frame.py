"""One simulated frame: bytes of a datagram in, reply and its due time out.

Owns the protocol: the effect of each request on boards, and which request was answered
before. Time is an argument; must not know sockets, threads or texts.
"""

import heapq
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from spalloc_server._simulator import packets
from spalloc_server._simulator.board import FPGAS, Board
from spalloc_server._simulator.fault_table import Faults
from spalloc_server._simulator.faults import (
    Error,
    Lose,
    RefusePower,
    Silent,
    Slow,
    Version,
    WrongFPGA,
)
from spalloc_server._simulator.packets import Command, Malformed, Request, Result
from spalloc_server._simulator.seen import Log, Seen, mask_boards, outcome_of

MAX_BOARDS = 24

DEFAULT_VERSION = (2, 1, 0)
_FIRST_WITH_REGISTERS = (2, 0, 0)

_SWITCH_SECONDS = 0.5  # from a power command to its reply, in real time

# For answering repeats: how many requests of how many peers, and for how long after the reply.
# A peer repeats within its patience (four times 10 s for power), and sequence numbers come
# round after 65,536 requests. Arbitrary between these.
_REQUESTS_REMEMBERED = 64
_PEERS_REMEMBERED = 256
_SECONDS_REMEMBERED = 60.0


class Reply(NamedTuple):
    """A datagram to send.

    Attributes
    ----------
    due : float
        When, monotonic seconds; not later than now if at once.
    board : int
        Board that sends it.
    data : bytes
        UDP payload.
    """

    due: float
    board: int
    data: bytes


class _Switch(NamedTuple):
    when: float
    order: int
    board: int
    on: bool
    wrong_fpgas: frozenset[int]


class _Done(NamedTuple):
    """A request that was answered.

    If refused as a whole it changed nothing, and its repeat gets another chance.
    """

    result: Result
    due: float
    data: bytes = b""
    refused: bool = False


class _Answered(NamedTuple):
    """A request that was carried out, for its repeats."""

    packet: bytes
    due: float
    reply: bytes


class Frame:
    """Boards behind one BMP address.

    Parameters
    ----------
    name : str
        Its BMP's host name as configured; seeds its random numbers, too.
    boards : int
        How many, 1-24.
    real_time : bool
        Whether boards take half a second to switch.
    seed : int
        For losing packets: the same seed and packets lose the same packets.
    log : Log
        Shared by all frames.

    Raises
    ------
    ValueError
        If `boards` is out of range.
    """

    def __init__(
        self,
        name: str,
        boards: int = MAX_BOARDS,
        *,
        real_time: bool = False,
        seed: int = 0,
        log: Log | None = None,
    ) -> None:
        if not 1 <= boards <= MAX_BOARDS:
            raise ValueError(f"a frame has 1 to {MAX_BOARDS} boards, not {boards}")
        self.name = name
        self.boards = [Board(number) for number in range(boards)]
        self.faults = Faults()
        self.seen = Seen(name, log if log is not None else Log())
        self._real_time = real_time
        self._random = random.Random(f"{seed} {name}")
        self._switches: list[_Switch] = []
        self._switches_made = 0
        self._answered: OrderedDict[Hashable, OrderedDict[int, _Answered]] = OrderedDict()

    # --- time ---

    def advance(self, now: float) -> None:
        """Let everything happen that is due by now; called before boards are looked at."""
        while self._switches and self._switches[0].when <= now:
            switch = heapq.heappop(self._switches)
            self.boards[switch.board].switch(switch.on, switch.wrong_fpgas)

    def is_silent(self, board: int) -> bool:
        """Whether a board says nothing now, replies that are still to go included."""
        return self.faults.find(board, Silent) is not None

    # --- packets ---

    def receive(self, packet: bytes, peer: Hashable, now: float) -> Reply | None:
        """Take a datagram.

        Parameters
        ----------
        packet : bytes
            UDP payload; anything.
        peer : hashable
            Its sender.
        now : float
            Monotonic seconds, never less than at an earlier call.

        Returns
        -------
        Reply or None
            None if it is not answered: malformed, lost, silent, or no reply wanted.
        """
        self.advance(now)
        try:
            request = packets.read_request(packet)
        except Malformed:
            self.seen.add(now, None, "malformed")
            return None
        answer = self._answer_with_faults if self.faults else self._answer
        reply, outcome = answer(request, packet, peer, now)
        self.seen.add(now, request, outcome)
        self.advance(now)
        return reply if request.reply_expected else None

    def _answer_with_faults(
        self, request: Request, packet: bytes, peer: Hashable, now: float
    ) -> tuple[Reply | None, str]:
        if self.is_silent(request.board):
            return None, "silent"
        lost = self._draw_loss(request.board)
        if lost == "requests":
            return None, "request lost"
        answered = self._answer(request, packet, peer, now)
        return (None, "reply lost") if lost == "replies" else answered

    def _draw_loss(self, board: int) -> str | None:
        lose = self.faults.find(board, Lose)
        if lose is None:
            return None
        # Both drawn each time, so that changing `which` changes no later draw.
        hit, half = self._random.random() < lose.share, self._random.random() < 0.5
        if not hit:
            return None
        return lose.which if lose.which != "both" else "requests" if half else "replies"

    def _answer(
        self, request: Request, packet: bytes, peer: Hashable, now: float
    ) -> tuple[Reply | None, str]:
        slow = self.faults.find(request.board, Slow)
        due = now + slow.seconds if slow else now
        before = self._answered_before(request, packet, peer, now)
        if before is not None:
            return Reply(max(due, before.due), request.board, before.reply), "repeat"
        done = self._carry_out(request, due)
        reply = packets.write_reply(request, done.result, done.data)
        if not done.refused:
            self._remember(request, peer, _Answered(packet, done.due, reply))
        return Reply(done.due, request.board, reply), outcome_of(done.result)

    # --- repeats ---

    def _answered_before(
        self, request: Request, packet: bytes, peer: Hashable, now: float
    ) -> _Answered | None:
        of_peer = self._answered.get(peer)
        answered = of_peer.get(request.sequence) if of_peer else None
        if answered and answered.packet == packet and now <= answered.due + _SECONDS_REMEMBERED:
            return answered
        return None

    def _remember(self, request: Request, peer: Hashable, answered: _Answered) -> None:
        of_peer = self._answered.setdefault(peer, OrderedDict())
        self._answered.move_to_end(peer)
        if len(self._answered) > _PEERS_REMEMBERED:
            self._answered.popitem(last=False)
        of_peer[request.sequence] = answered
        of_peer.move_to_end(request.sequence)
        if len(of_peer) > _REQUESTS_REMEMBERED:
            of_peer.popitem(last=False)

    # --- commands ---

    def _carry_out(self, request: Request, due: float) -> _Done:
        refused = self._refused(request)
        if refused:
            return _Done(refused, due, refused=True)
        return _COMMANDS[request.command](self, request, due)

    def _refused(self, request: Request) -> Result | None:
        """Find why a request is not even looked into, if so."""
        if request.port != 0:
            return Result.PORT
        if request.board >= len(self.boards):
            return Result.CPU
        # A power command goes to board 0 for all boards, each of which answers for itself.
        own = None if request.command == Command.POWER else request.board
        error = self._error(own, request.command) or self._error(None, request.command)
        if error:
            return error
        return None if request.command in _COMMANDS else Result.CMD

    def _error(self, where: int | None, command: int) -> Result | None:
        fault = self.faults.of(where, Error) if self.faults else None
        if fault is None or fault.command not in (None, command):
            return None
        self.faults.of(where, Error, count=True)
        return fault.code

    def _version(self, board: int) -> tuple[int, int, int]:
        fault = self.faults.find(board, Version)
        return fault.version if fault else DEFAULT_VERSION

    def _tell_version(self, request: Request, due: float) -> _Done:
        data = packets.version_data(request.board, self._version(request.board))
        return _Done(Result.OK, due, data)

    def _bad_link(self, request: Request) -> Result | None:
        """Find the mistake in a request for a register, if there is one."""
        address, length, fpga = request.args
        if self._version(request.board) < _FIRST_WITH_REGISTERS:
            return Result.CMD
        return Result.ARG if length != 4 or address % 4 or fpga >= FPGAS else None

    def _link_read(self, request: Request, due: float) -> _Done:
        bad = self._bad_link(request)
        if bad:
            return _Done(bad, due, refused=True)
        address, _, fpga = request.args
        value = self.boards[request.board].read(fpga, address)
        return _Done(Result.OK, due, packets.write_word(value))

    def _link_write(self, request: Request, due: float) -> _Done:
        bad = self._bad_link(request) or (Result.LEN if len(request.data) != 4 else None)
        if bad:
            return _Done(bad, due, refused=True)
        address, _, fpga = request.args
        self.boards[request.board].write(fpga, address, packets.read_word(request.data))
        return _Done(Result.OK, due)

    # --- power ---

    def _power(self, request: Request, due: float) -> _Done:
        what, mask, _ = request.args
        # Real boards other than 0 do not pass power commands on reliably: none may rely on it.
        if request.board != 0 or what & 0xFFFF > 1 or not 0 < mask < 1 << len(self.boards):
            return _Done(Result.ARG, due, refused=True)
        on, delay = what & 1 == 1, 0.0
        if self._real_time:
            due, delay = due + _SWITCH_SECONDS, (what >> 16) / 1000
        result = Result.OK
        for place, number in enumerate(mask_boards(mask)):
            error = self._refusal(number, on)
            if error is None:
                self._switch_at(due + place * delay, number, on)
            elif result == Result.OK:
                result = error
        return _Done(result, due + (mask.bit_count() - 1) * delay)

    def _refusal(self, number: int, on: bool) -> Result | None:
        """Error of one board at a power command; its neighbours switch all the same."""
        if not self.faults:
            return None
        if self.faults.of(number, Silent):
            return Result.DEAD
        error = self._error(number, Command.POWER)
        if error:
            return error
        refuse = self.faults.find(number, RefusePower)
        if refuse is None or refuse.on not in (None, on):
            return None
        self.faults.find(number, RefusePower, count=True)
        return Result.DEAD

    def _switch_at(self, when: float, number: int, on: bool) -> None:
        wrong = self.faults.find(number, WrongFPGA, count=True) if on else None
        self._switches_made += 1
        fpgas = wrong.fpgas if wrong else frozenset[int]()
        heapq.heappush(self._switches, _Switch(when, self._switches_made, number, on, fpgas))


_COMMANDS: dict[int, Callable[[Frame, Request, float], _Done]] = {
    Command.VERSION: Frame._tell_version,
    Command.LINK_READ: Frame._link_read,
    Command.LINK_WRITE: Frame._link_write,
    Command.POWER: Frame._power,
}
