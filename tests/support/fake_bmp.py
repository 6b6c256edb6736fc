"""A transceiver without hardware, for tests of what the frame threads do."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from spalloc_server._bmp.interface import BMPAnswerError, BMPSilentError
from spalloc_server.async_bmp_controller import (
    FPGA_LINK_STOP_REGISTERS,
    AtomicRequests,
    FailureReason,
    LinkRequest,
)
from spalloc_server.links import Links

ALWAYS = 1_000_000
LINK_OF_REGISTER = {register: link for link, register in FPGA_LINK_STOP_REGISTERS.items()}


class Version(NamedTuple):
    version_number: tuple[int, int, int]


class FakeTransceiver:
    """Answers at once, records what it is asked, and fails on purpose.

    Faults are counters: how many more times to fail.
    """

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []
        self.on: dict[int, bool] = {}
        self.checked: set[int] = set()
        self.links: dict[tuple[int, Links], bool] = {}
        self.refuse_on: Counter[int] = Counter()
        self.refuse_off: Counter[int] = Counter()
        self.wrong_fpgas: Counter[int] = Counter()
        self.mute_boards: Counter[int] = Counter()
        self.bad_registers: Counter[int] = Counter()
        self.silences = 0
        self.version: dict[int, tuple[int, int, int]] = {}
        self.before: Callable[[str, list[int]], None] = lambda what, boards: None
        self.users: set[int] = set()

    def power_on(self, *, boards: list[int], frame: int, cabinet: int) -> None:
        self._power(True, boards, self.refuse_on)
        self.checked -= set(boards)

    def power_off(self, *, boards: list[int], frame: int, cabinet: int) -> None:
        self._power(False, boards, self.refuse_off)

    def read_fpga_register(
        self, *, fpga_num: int, register: int, board: int, cabinet: int, frame: int
    ) -> int:
        self._register("read", board, (fpga_num, register))
        assert register == 0x40004
        if fpga_num == 2:
            self.checked.add(board)
            if self._fails(self.wrong_fpgas, board):
                return 0xFFFFFFF0
        return 0xABCD0000 + fpga_num

    def write_fpga_register(
        self, fpga: int, register: int, value: int, *, board: int, frame: int, cabinet: int
    ) -> None:
        link = LINK_OF_REGISTER[fpga, register]
        self._register("write", board, (link, value))
        assert value in (0, 1)
        self.links[board, link] = not value

    def read_bmp_version(self, *, board: int, frame: int, cabinet: int) -> Version:
        self._register("version", board, ())
        return Version(self.version.get(board, (2, 1, 0)))

    # --- for tests ---

    @property
    def powers(self) -> list[tuple[object, ...]]:
        """The power commands among the log."""
        return [entry for entry in self.log if entry[0] in ("on", "off")]

    def count(self, what: str) -> int:
        return sum(entry[0] == what for entry in self.log)

    # --- helpers ---

    def _power(self, on: bool, boards: list[int], refuse: Counter[int]) -> None:
        assert type(boards) is list
        assert boards
        assert len(set(boards)) == len(boards)
        self._note("on" if on else "off", boards, tuple(boards))
        refused = [board for board in boards if self._fails(refuse, board)]
        if refused:
            raise BMPAnswerError(f"refuses {refused}")
        for board in boards:
            self.on[board] = on

    def _register(self, what: str, board: int, details: tuple[object, ...]) -> None:
        self._note(what, [board], (board, *details))
        if self._fails(self.mute_boards, board):
            raise BMPSilentError("board is mute")
        if what != "version" and self._fails(self.bad_registers, board):
            raise BMPAnswerError("RC_CMD")

    def _note(self, what: str, boards: list[int], details: tuple[object, ...]) -> None:
        self.users.add(threading.get_ident())
        self.before(what, boards)
        self.log.append((what, *details))
        if self.silences:
            self.silences -= 1
            raise BMPSilentError("mute")

    @staticmethod
    def _fails(counter: Counter[int], board: int) -> bool:
        if counter[board] <= 0:
            return False
        counter[board] -= 1
        return True


class Asked:
    """Requests with a record of their answers.

    Attributes
    ----------
    answers : list of (bool, str or None)
        Should never hold more than one.
    """

    def __init__(
        self,
        on: list[int] | None = None,
        links: list[LinkRequest] | None = None,
        off: list[int] | None = None,
        background: bool = False,
        then: Callable[[], object] | None = None,
    ) -> None:
        self.answers: list[tuple[bool, FailureReason | None]] = []
        self.done = threading.Event()
        self._then = then
        self.requests = AtomicRequests(self._on_done)
        for board in on or ():
            self.requests.power(board, True)
        for link in links or ():
            self.requests.link(*link)
        for board in off or ():
            self.requests.power(board, False)
        self.requests.background = background

    def _on_done(self, success: bool, reason: FailureReason | None = None) -> None:
        self.answers.append((success, reason))
        try:
            if self._then is not None:
                self._then()
        finally:
            self.done.set()

    @property
    def succeeded(self) -> bool:
        """The one answer."""
        ((success, reason),) = self.answers
        assert (reason is None) == success
        return success

    @property
    def reason(self) -> FailureReason:
        """Why it failed."""
        ((success, reason),) = self.answers
        assert not success
        assert reason is not None
        return reason
