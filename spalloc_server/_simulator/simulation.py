"""`Simulation`: the BMPs of any configuration, on loopback.

Owns which frame stands for which host name, and the lock around all frames. Knows no server:
`spalloc_server --simulate` asks `Simulation.resolve` for the address to talk to,
``spalloc-simulator`` adds the frames of a configuration at their own addresses.
"""

import errno
import json
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spalloc_server import _clock
from spalloc_server._simulator import addresses, commands, language
from spalloc_server._simulator.commands import Answer
from spalloc_server._simulator.control import Listener
from spalloc_server._simulator.fault_table import Faults
from spalloc_server._simulator.faults import BadText
from spalloc_server._simulator.frame import MAX_BOARDS, Frame
from spalloc_server._simulator.language import Instruction
from spalloc_server._simulator.seen import Log
from spalloc_server._simulator.sockets import SocketThread


class Simulation:
    """Simulated frames, served over UDP by one thread of their own.

    All methods may be called from any thread. A context manager: `start` on entering, `stop` on
    leaving.

    Parameters
    ----------
    real_time : bool
        Whether boards take half a second to switch; else at once.
    boards_per_frame : int
        How many boards a frame has that is not told otherwise, 1-24.
    seed : int or None
        For losing packets; None chooses one.

    Attributes
    ----------
    seed : int
        The seed used.

    Raises
    ------
    ValueError
        If `boards_per_frame` is out of range.
    """

    def __init__(
        self, real_time: bool = False, boards_per_frame: int = MAX_BOARDS, seed: int | None = None
    ) -> None:
        if not 1 <= boards_per_frame <= MAX_BOARDS:
            raise ValueError(f"a frame has 1 to {MAX_BOARDS} boards, not {boards_per_frame}")
        self.seed = random.randrange(1 << 32) if seed is None else seed
        self._real_time = real_time
        self._boards_per_frame = boards_per_frame
        self._log = Log()
        self._free_addresses = addresses.FreeAddresses()
        # Guards all frames and everything below.
        self._lock = threading.Lock()
        self._frames: dict[str, Frame] = {}
        self._addresses: dict[str, str] = {}
        # Faults that frames will come with: those named here, and (None) any other.
        self._coming: dict[str | None, Faults] = {None: Faults()}
        self._listeners: list[Listener] = []
        self._sockets = SocketThread(self._lock, self._answer_line)

    def __enter__(self) -> "Simulation":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- life ---

    def start(self) -> None:
        """Start answering; frames may be added before and after."""
        self._sockets.start()

    def stop(self) -> None:
        """Stop answering and give all addresses back; twice is fine."""
        self._sockets.stop()
        with self._lock:
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()

    def listen(self, path: str | Path) -> None:
        """Take commands at a Unix socket, too.

        Parameters
        ----------
        path : str or Path
            Its file, mode 0600, removed at the end.

        Raises
        ------
        ControlFailed
            If it cannot be made.
        """
        listener = Listener(Path(path))
        self._sockets.listen(listener.socket)
        with self._lock:
            self._listeners.append(listener)

    # --- frames ---

    def resolve(self, hostname: str) -> str:
        """Address at which the frame of a BMP is simulated.

        Parameters
        ----------
        hostname : str
            As configured, never looked up. At first sight the frame is made: at this very
            address if it is a loopback address and free, else at a free loopback address.

        Returns
        -------
        str
            ``127.x.y.z``, always the same for this host name.

        Raises
        ------
        OSError
            If no address can be bound.
        RuntimeError
            If the simulation has been stopped.
        """
        with self._lock:
            if hostname not in self._addresses:
                address, bound = self._bind(hostname)
                self._make(hostname, address, bound, self._boards_per_frame)
            return self._addresses[hostname]

    def add_frame(self, hostname: str, boards: int = MAX_BOARDS) -> None:
        """Make the frame of a BMP at its own address.

        Parameters
        ----------
        hostname : str
            ``127.x.y.z``.
        boards : int
            How many boards it has, 1-24.

        Raises
        ------
        ValueError
            If it is no loopback address, is there already, or `boards` is out of range.
        OSError
            If the address cannot be bound.
        """
        with self._lock:
            if hostname in self._addresses:
                raise ValueError(f"there is a frame {hostname!r} already")
            self._make(hostname, hostname, addresses.bind(hostname), boards)

    def _bind(self, hostname: str) -> tuple[str, socket.socket]:
        if addresses.is_loopback(hostname):
            try:
                return hostname, addresses.bind(hostname)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
                    raise
        return self._free_addresses.bind_next()

    def _make(self, hostname: str, address: str, bound: socket.socket, boards: int) -> None:
        """Make and serve a frame; needs the lock."""
        try:
            frame = Frame(
                hostname, boards, real_time=self._real_time, seed=self.seed, log=self._log
            )
        except ValueError:
            bound.close()
            raise
        frame.faults = self._coming.pop(hostname, self._coming[None]).copy()
        self._sockets.serve(bound, frame)
        self._frames[hostname] = frame
        self._addresses[hostname] = address

    def frame(self, hostname: str) -> Frame:
        """Find the simulated frame of a host name, made if need be.

        Hold `still` while looking at it.
        """
        self.resolve(hostname)
        return self._frames[hostname]

    @contextmanager
    def still(self) -> Iterator[None]:
        """Hold all frames still, advanced to now.

        Keep it short, and call no other method of the simulation meanwhile.
        """
        with self._lock:
            now = _clock.monotonic()
            for frame in self._frames.values():
                frame.advance(now)
            yield

    def set_power(self, hostname: str, board: int, on: bool) -> None:
        """Set a board's power as if it had always been so, e.g. to agree with a saved state.

        Parameters
        ----------
        hostname : str
            Frame, made if need be.
        board : int
        on : bool

        Raises
        ------
        ValueError
            If the frame has no such board.
        """
        frame = self.frame(hostname)
        if not 0 <= board < len(frame.boards):
            raise ValueError(f"{hostname} has no board {board}, only 0 to {len(frame.boards) - 1}")
        with self.still():
            frame.boards[board].set_power(on)

    # --- texts ---

    def command(self, text: str) -> Answer:
        """Carry out a text: ``[FRAME|all] [board N] COMMAND ...``, see `language`.

        Parameters
        ----------
        text : str
            One line; frames by host name or address. Faults of all frames hold for frames yet
            to come, too.

        Returns
        -------
        Answer
            Text for people, builtins for programs.

        Raises
        ------
        BadText
            (a ValueError) naming the wrong word and those allowed.
        """
        return self._command(text, unseen=False)

    def inject(self, text: str) -> None:
        """Carry out a text like `command`, which may be about a frame that is yet to be seen.

        Parameters
        ----------
        text : str
            E.g. ``192.168.0.0 board 3 mute``.

        Raises
        ------
        BadText
            (a ValueError) if it cannot be understood.
        """
        self._command(text, unseen=True)

    def describe(self) -> str:
        """Text for people: boards on and stopped links of every frame."""
        return "\n".join([self.command("power").text, self.command("links").text])

    def _command(self, text: str, *, unseen: bool) -> Answer:
        with self.still():
            names = {address: name for name, address in self._addresses.items()}
            known = {**names, **{name: name for name in self._frames}}
            instruction = language.read(text, known, unseen=unseen)
            if instruction.frame is not None:
                instruction = instruction._replace(
                    frame=known.get(instruction.frame, instruction.frame)
                )
            answer = commands.carry_out(
                instruction, self._chosen(instruction), self._addresses, self._log
            )
            self._prepare_for_coming(instruction)
            return answer

    def _chosen(self, instruction: Instruction) -> Sequence[Frame]:
        if instruction.frame is None:
            return list(self._frames.values())
        return [self._frames[instruction.frame]] if instruction.frame in self._frames else []

    def _prepare_for_coming(self, instruction: Instruction) -> None:
        """Have the faults of frames that are yet to be seen agree; needs the lock."""
        name = instruction.frame
        if name is None:
            for faults in self._coming.values():
                commands.change_faults(instruction, faults)
        elif name not in self._frames:
            faults = self._coming.setdefault(name, self._coming[None].copy())
            commands.change_faults(instruction, faults)

    def _answer_line(self, line: str) -> str:
        """Answer of the control socket; on its thread."""
        try:
            text, data = self.command(line)
        except BadText as error:
            return json.dumps({"ok": False, "text": str(error), "data": None})
        return json.dumps({"ok": True, "text": text, "data": data})
