"""A controller on simulated frames with time of its own: days pass in a moment.

Everything but threads, sockets and clocks is real: the controller, the frame
threads' own work (done by `Facility.settle` instead of by threads) and the
simulator's boards with their faults, met packet by packet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest.mock import patch

from spalloc_server import _clock, async_bmp_controller, controller
from spalloc_server._bmp.interface import BMPAnswerError, BMPSilentError
from spalloc_server._places import Board
from spalloc_server._simulator import commands
from spalloc_server._simulator.frame import Frame as SimulatedFrame
from spalloc_server._simulator.language import read
from spalloc_server._simulator.seen import Log
from spalloc_server.async_bmp_controller import AsyncBMPController
from spalloc_server.configuration import Machine
from spalloc_server.controller import Controller, JobState
from tests.support.outcomes import hear_outcomes

_REQUEST = struct.Struct("<2x8B2H3I")
_VERSION, _READ, _WRITE, _POWER = 0, 17, 18, 57
_OK = 0x80
_REGISTER_WAITS = (0.5, 0.5, 1.0, 1.0)
_POWER_ON_WAITS = (5.0, 5.0, 5.0, 10.0)
_POWER_OFF_WAITS = (1.0, 1.0, 1.0, 1.0)
_FPGA_WAIT = 5.0


def machine(
    name: str = "m", width: int = 2, height: int = 2, per_frame: int = 6, **others: Any
) -> Machine:
    """Make a machine whose boards fill frames of cabinet 0, triad by triad."""
    boards = [(x, y, z) for y in range(height) for x in range(width) for z in range(3)]
    locations = {b: (0, n // per_frame, n % per_frame) for n, b in enumerate(boards)}
    others.setdefault("base_ip", f"127.{64 + sum(name.encode()) % 64}.0.0")
    return Machine.with_standard_ips(
        name, width=width, height=height, board_locations=locations, **others
    )


class Time:
    """Stands still but for those who wait."""

    def __init__(self) -> None:
        self.now = 5000.0
        self.wall_offset = 1.6e9
        self.stepping: PacketTransceiver | None = None

    def monotonic(self) -> float:
        return self.now if self.stepping is None else max(self.now, self.stepping.busy_until)

    def wall(self) -> float:
        return self.now + self.wall_offset


class Version(NamedTuple):
    version_number: tuple[int, int, int]


class PacketTransceiver:
    """Speaks to one simulated frame in packets, and waits in its own frame's time.

    A frame's waiting holds up no other: `busy_until` says when this one is done.
    """

    def __init__(self, frame: SimulatedFrame, time: Time) -> None:
        self.frame = frame
        self._time = time
        self._sequence = 0
        self.busy_until = 0.0

    def power_on(self, *, boards: list[int], frame: int, cabinet: int) -> None:
        mask = sum(1 << board for board in boards)
        self._ask(0, _POWER, (1, mask, 0), _POWER_ON_WAITS)
        self._wait(_FPGA_WAIT)

    def power_off(self, *, boards: list[int], frame: int, cabinet: int) -> None:
        mask = sum(1 << board for board in boards)
        self._ask(0, _POWER, (0, mask, 0), _POWER_OFF_WAITS)

    def read_fpga_register(
        self, *, fpga_num: int, register: int, board: int, cabinet: int, frame: int
    ) -> int:
        answer = self._ask(board, _READ, (register, 4, fpga_num), _REGISTER_WAITS)
        value: int = struct.unpack_from("<I", answer, 14)[0]
        return value

    def write_fpga_register(
        self, fpga: int, register: int, value: int, *, board: int, frame: int, cabinet: int
    ) -> None:
        word = struct.pack("<I", value)
        self._ask(board, _WRITE, (register, 4, fpga), _REGISTER_WAITS, word)

    def read_bmp_version(self, *, board: int, frame: int, cabinet: int) -> Version:
        answer = self._ask(board, _VERSION, (0, 0, 0), _REGISTER_WAITS)
        text = answer[14 + 12 :].split(b"\0")[1].decode()
        major, minor, patch_number = map(int, text.split("."))
        return Version((major, minor, patch_number))

    def _ask(
        self,
        board: int,
        command: int,
        args: tuple[int, int, int],
        waits: tuple[float, ...],
        data: bytes = b"",
    ) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFF
        packet = _REQUEST.pack(0x87, 0, board, 0, 0, 0, 0, 0, command, self._sequence, *args)
        for wait in waits:
            sent = self._now()
            reply = self.frame.receive(packet + data, "us", sent)
            if reply is None or reply.due > sent + wait:
                self._wait(wait)
                continue
            self._wait(reply.due - sent)
            (result,) = struct.unpack_from("<H", reply.data, 10)
            if result != _OK:
                raise BMPAnswerError(f"answered {result:#x}")
            return reply.data
        raise BMPSilentError("no answer")

    def _now(self) -> float:
        return max(self._time.now, self.busy_until)

    def _wait(self, seconds: float) -> None:
        self.busy_until = self._now() + seconds


class SteppedFrame(AsyncBMPController):
    """A frame's thread whose work is done when `step` is called."""

    facility: Facility

    def __init__(self, hostname: str, on_thread_start: Callable[[], object] | None = None) -> None:
        super().__init__(hostname, None)
        self._thread.join()
        self.link = PacketTransceiver(self.facility.simulated(hostname), self.facility.time)
        self._transceiver = self.link
        self._probe_at: float | None = None
        self._answers: list[Callable[[], object]] = []
        self.facility.frames.append(self)

    def _run(self) -> None:
        """Nothing is done by the thread."""

    def _call_back(self, callback: Callable[..., object], *args: object) -> None:
        # Heard when the frame's own time has come to that.
        self._answers.append(lambda: callback(*args))

    def step(self, now: float) -> bool:
        """Do one thing if it is time for one; returns whether there was one."""
        if now < self.link.busy_until:
            return False
        if self._answers:
            self._answers.pop(0)()
            return True
        self._drop_overtaken()
        work = self._queue.next_batch(now) or self._queue.next_background()
        if work:
            self._probe_at = None
            due = self._queue.due_retries(now)
            self._queue.begin(work)
            self._work(lambda: self._begin(work, due))
            return True
        if self.answering is not False or not self._queue.is_idle:
            return bool(self._answers)
        if self._probe_at is None:
            self._probe_at = now + async_bmp_controller._SECONDS_BETWEEN_PROBES
        if now < self._probe_at:
            return False
        self._probe_at = None
        self._work(self._frame.probe)
        return True

    def _work(self, work: Callable[[], object]) -> None:
        """Do something that takes this frame's time."""
        self.facility.time.stepping = self.link
        try:
            work()
        finally:
            self.facility.time.stepping = None

    def next_time(self, now: float) -> float | None:
        """When `step` has something to do."""
        times = [self.link.busy_until] if self.link.busy_until > now else []
        times += [t for t in (self._queue.next_due(), self._probe_at) if t is not None]
        later = [t for t in times if t > now]
        return min(later, default=None)


class Given(NamedTuple):
    """A job was given boards."""

    when: float
    job_id: int
    machine: str
    boards: frozenset[Board]


class Facility:
    """Machines, jobs, faults and time.

    Attributes
    ----------
    given : list of Given
    ended : dict
        {job id: reason}.
    moves : list of int
        Ids of jobs that went back into their queue.
    faulted : list of (when, board)
        Boards of machine "m" that began to be out of service for sure.
    extra_times : callable
        Gives times at which something else happens.
    outcomes : list
        All that the controller told.
    """

    def __init__(self, machines: Iterable[Machine], *, seconds_before_free: float = 30.0) -> None:
        self.time = Time()
        self.frames: list[SteppedFrame] = []
        self.given: list[Given] = []
        self.ended: dict[int, str | None] = {}
        self.moves: list[int] = []
        self.faulted: list[tuple[float, Board]] = []
        self.outcomes: list[tuple[Any, ...]] = []
        self.extra_times: Callable[[], Iterable[float]] = list
        self._sure: set[Board] = set()
        self._simulated: dict[str, SimulatedFrame] = {}
        frame = type("Frame", (SteppedFrame,), {"facility": self})
        self._patches = ExitStack()
        self._patches.enter_context(patch.object(_clock, "monotonic", self.time.monotonic))
        self._patches.enter_context(patch.object(_clock, "wall", self.time.wall))
        self._patches.enter_context(patch.object(controller, "AsyncBMPController", frame))
        self.controller = Controller(seconds_before_free=seconds_before_free)
        hear_outcomes(self.controller, self._note)
        self.controller.machines = {machine.name: machine for machine in machines}
        self.on_event: Callable[[], object] = lambda: None

    def close(self) -> None:
        self._patches.close()

    # --- hardware ---

    def simulated(self, hostname: str) -> SimulatedFrame:
        if hostname not in self._simulated:
            self._simulated[hostname] = SimulatedFrame(hostname)
        return self._simulated[hostname]

    def inject(self, text: str, machine: str = "m") -> None:
        """Carry out a text of the simulator; frames are numbered, like ``0 board 3 mute``."""
        number, _, rest = text.partition(" ")
        hosts = list(self.controller.machines[machine].bmp_ips.values())
        for host in hosts if number == "all" else [hosts[int(number)]]:
            commands.carry_out(read(rest, []), [self.simulated(host)], {}, Log())

    def is_on(self, board: Board, machine: str = "m") -> bool:
        place = self.controller.machines[machine].board_locations[board]
        frame = self.simulated(self.controller.machines[machine].bmp_ips[place[:2]])
        frame.advance(self.time.now)
        return frame.boards[place[2]].on

    # --- jobs ---

    def create(self, *what: int, **keywords: Any) -> int:
        keywords.setdefault("keepalive", None)
        return self.controller.create_job(None, *what, owner="me", **keywords)

    def state(self, job_id: int) -> JobState:
        return self.controller.get_job_state(None, job_id).state

    def boards(self, job_id: int) -> set[Board]:
        return self.controller.get_job_machine_info(None, job_id).boards or set()

    @property
    def out(self) -> set[Board]:
        return {row.board for row in self.controller.overview.out_of_service()}

    def _note(self, outcome: tuple[Any, ...]) -> None:
        self.outcomes.append(outcome)
        if outcome[0] == "allocated":
            boards = frozenset((x, y, z) for x, y, z in outcome[2]["boards"])
            self.given.append(Given(self.time.now, outcome[1], outcome[2]["machine"], boards))
        elif outcome[0] == "ended":
            self.ended[outcome[1]] = outcome[2]
        elif outcome[0] == "requeued":
            self.moves.append(outcome[1])
        elif outcome[0] == "quarantine" and outcome[1] == "m":
            self._note_faults(outcome[2])

    def _note_faults(self, plain: dict[str, Any] | None) -> None:
        cases = [] if plain is None else plain["cases"]
        sure = {(x, y, z) for (x, y, z) in (case["board"] for case in cases if case["sure"])}
        self.faulted += [(self.time.now, board) for board in sorted(sure - self._sure)]
        self._sure = sure

    # --- time ---

    def settle(self) -> None:
        """Do all that is to be done now."""
        again = True
        while again:
            now = self.time.now
            rested = self.controller.next_rested()
            if rested is not None and rested <= now:
                self.controller.check_free()
            check = self.controller.next_health_check()
            if check is not None and check <= now:
                self.controller.check_health(now)
            again = sum(frame.step(now) for frame in list(self.frames)) > 0
        self.on_event()

    def next_time(self) -> float | None:
        """When something happens next by itself."""
        now = self.time.now
        times = [frame.next_time(now) for frame in self.frames]
        times += [self.controller.next_rested(), self.controller.next_health_check()]
        times += self.extra_times()
        return min((t for t in times if t is not None and t > now), default=None)

    def run(self, seconds: float) -> None:
        """Let time pass, from event to event."""
        end = self.time.now + seconds
        self.settle()
        while (due := self.next_time()) is not None and due <= end:
            self.time.now = due
            self.settle()
        self.time.now = end
        self.settle()

    def run_until(self, done: Callable[[], bool], limit: float) -> float:
        """Let time pass until something is so; returns the seconds that took."""
        begun = self.time.now
        self.settle()
        while not done():
            due = self.next_time()
            assert due is not None, "nothing will ever happen"
            assert due <= begun + limit, f"not so after {limit} s"
            self.time.now = due
            self.settle()
        return self.time.now - begun
