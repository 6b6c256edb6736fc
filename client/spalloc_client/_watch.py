"""A screen that is drawn again whenever something changes.

It owns the terminal while it runs: the alternate screen, the keys, the size, and giving
all of that back however it ends. The `draw` function that it is given makes the content.
"""

import os
import re
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import ControlType, Segment, Segments
from rich.text import Text

from spalloc_client._palette import QUIET, word
from spalloc_client._program import end_interrupted_line
from spalloc_client._session import Session
from spalloc_client._terminal import show
from spalloc_client.errors import ProtocolTimeoutError, ServerLostError

#: The shortest time between two drawings, seconds: a busy server changes faster than
#: anybody can read.  # arbitrary
_PAUSE = 0.1

_Lines = list[list[Segment]]

#: Wipes the rest of an earlier picture to the right.
_CLEAR_REST = Control((ControlType.ERASE_IN_LINE, 0)).segment

#: Keys, as terminals send them, and their effect: lines to scroll, pages, or the ends.
_ONE_KEY = re.compile(rb"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])|.", re.DOTALL)
_KEYS: dict[bytes, tuple[str, int]] = {
    b"j": ("line", 1),
    b"\x1b[B": ("line", 1),
    b"\x1bOB": ("line", 1),
    b"k": ("line", -1),
    b"\x1b[A": ("line", -1),
    b"\x1bOA": ("line", -1),
    b" ": ("page", 1),
    b"\x1b[6~": ("page", 1),
    b"b": ("page", -1),
    b"\x1b[5~": ("page", -1),
    b"g": ("all", -1),
    b"\x1b[H": ("all", -1),
    b"G": ("all", 1),
    b"\x1b[F": ("all", 1),
}


class Bell:
    """Something to wait for together with files; may be rung from threads and signals."""

    def __init__(self) -> None:
        self._ear, self._button = socket.socketpair()
        self._ear.setblocking(False)
        self._button.setblocking(False)

    def tell(self) -> None:
        """Ring."""
        with suppress(OSError):  # full: it rings already; closed: nobody listens
            self._button.send(b"\0")

    def fileno(self) -> int:
        """Return the descriptor that is readable while it rings."""
        return self._ear.fileno()

    def hush(self) -> None:
        """Stop ringing."""
        with suppress(BlockingIOError):
            while self._ear.recv(4096):
                pass

    def close(self) -> None:
        """Let go of the descriptors."""
        self._ear.close()
        self._button.close()


def watch(
    console: Console,
    session: Session,
    draw: Callable[[], Sequence[RenderableType]],
    over: Callable[[], bool] = lambda: False,
) -> None:
    """Show the drawings of `draw` until `q` or Ctrl-C, or until `over` says that none follows.

    Parameters
    ----------
    console
        Where to. If it is no terminal, each drawing that differs is printed below the last.
    session
        Has been subscribed to all that matters; `draw` asks it.
    draw
        Returns parts to be shown one below the other. A ServerLostError or
        ProtocolTimeoutError from it is shown, and the server tried again.
    over
        Asked after each drawing.
    """
    bell = Bell()
    try:
        view = _Screen(console, bell) if console.is_terminal else _Scroll(console)
        with session.listen(bell), view:
            _watch(session, draw, over, bell, view)
    except KeyboardInterrupt:
        if not console.is_terminal:  # nor was there a screen that went away with the "^C"
            end_interrupted_line()
    finally:
        bell.close()


def _watch(
    session: Session,
    draw: Callable[[], Sequence[RenderableType]],
    over: Callable[[], bool],
    bell: Bell,
    view: "_Screen | _Scroll",
) -> None:
    while True:
        bell.hush()
        retry = None
        try:
            view.update(draw())
        except (ServerLostError, ProtocolTimeoutError) as exc:
            retry = max(session.reconnect_delay, _PAUSE)
            view.trouble(str(exc))
        if over() or view.wait(retry, bell) == "quit":
            return


class _Scroll:
    """Where there is no terminal: one drawing after the other."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def __enter__(self) -> "_Scroll":
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def update(self, parts: Sequence[RenderableType]) -> None:
        with self._console.capture() as capture:
            for part in parts:
                self._console.print(part)
        if capture.get() == self._last:
            return
        if self._last:
            show(self._console, Text())
        self._last = capture.get()
        show(self._console, *parts)

    def trouble(self, text: str) -> None:
        print(f"{text}; trying again", file=sys.stderr, flush=True)

    def wait(self, timeout: float | None, bell: Bell) -> str:
        """Wait for the bell; in trouble (a timeout) just wait."""
        if timeout is not None:
            time.sleep(timeout)
        else:
            select.select([bell], [], [])
            time.sleep(_PAUSE)
        return "draw"


class _Screen:
    """The whole terminal, which is given back as it was."""

    def __init__(self, console: Console, bell: Bell) -> None:
        self._console = console
        self._bell = bell
        self._parts: Sequence[RenderableType] = ()
        self._status = Text("asking the server ...", QUIET)
        self._offset = 0
        self._last_offset = 0
        self._suspending = False
        self._before: list[Any] | None = None
        self._stack = ExitStack()
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else None

    def __enter__(self) -> "_Screen":
        self._stack.enter_context(_handler(signal.SIGWINCH, self._on_resize))
        self._stack.enter_context(_handler(signal.SIGTSTP, self._on_suspend))
        self._stack.callback(self._give_back)  # before taking: an interrupt may come between
        self._take()
        self._paint()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def update(self, parts: Sequence[RenderableType]) -> None:
        self._parts = parts
        self._status = Text("q quits, arrow keys scroll", QUIET)
        self._status.append(f"   as of {time.strftime('%H:%M:%S %Z')}", QUIET)
        self._paint()

    def trouble(self, text: str) -> None:
        self._status = Text(f"{text}; trying again", word("lost"))
        self._paint()

    def wait(self, timeout: float | None, bell: Bell) -> str:
        """Wait for news; scroll meanwhile. Returns "quit" or "draw"."""
        end = None if timeout is None else time.monotonic() + timeout
        earliest = time.monotonic() + _PAUSE
        files: list[Any] = [bell] if self._keys is None else [bell, self._keys]
        while True:
            left = None if end is None else max(end - time.monotonic(), 0.0)
            ready = select.select(files, [], [], left)[0]
            if self._keys in ready and self._on_keys():
                return "quit"
            if self._suspending:
                self._suspend()
            if bell in ready and end is None:
                # Several changes in a row make one drawing.
                time.sleep(max(earliest - time.monotonic(), 0.0))
                return "draw"
            if bell in ready:  # in trouble there is no news, but a new size perhaps
                bell.hush()
                self._paint()
            if left == 0.0:
                return "draw"

    # --- the terminal ---

    def _take(self) -> None:
        if self._keys is not None:
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)  # keys come at once; Ctrl-C and Ctrl-Z still work
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def _give_back(self) -> None:
        self._console.show_cursor(True)
        self._console.set_alt_screen(False)
        if self._keys is not None and self._before is not None:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    def _on_resize(self, _number: int, _frame: FrameType | None) -> None:
        self._bell.tell()

    def _on_suspend(self, _number: int, _frame: FrameType | None) -> None:
        self._suspending = True  # not at once: we may be in the middle of a line
        self._bell.tell()

    def _suspend(self) -> None:
        """Ctrl-Z: give the terminal back, stop as one does, and take it again later."""
        self._suspending = False
        self._give_back()
        with _handler(signal.SIGTSTP, signal.SIG_DFL):
            os.kill(os.getpid(), signal.SIGTSTP)  # stops here until the shell continues us
        self._take()
        self._paint()

    # --- the picture ---

    def _on_keys(self) -> bool:
        """Obey the keys that were pressed; True to quit."""
        assert self._keys is not None
        pressed = os.read(self._keys, 1024)
        page = max(self._console.height - 2, 1)
        for key in _ONE_KEY.findall(pressed):
            unit, steps = _KEYS.get(key, ("line", 0))
            self._offset += steps * {"line": 1, "page": page, "all": 1 << 20}[unit]
            if key in {b"q", b"Q"}:
                return True
            # Each key starts from the place that the one before could reach.
            self._offset = max(min(self._offset, self._last_offset), 0)
        self._paint()
        return not pressed  # the terminal is gone

    def _paint(self) -> None:
        width, height = self._console.size
        options = self._console.options.update(width=width, height=None)
        lines: _Lines = []
        for part in self._parts:
            lines += self._console.render_lines(part, options, pad=False)
        room = max(height - 1, 1)
        self._last_offset = max(len(lines) - room, 0)
        self._offset = min(self._offset, self._last_offset)
        shown = lines[self._offset : self._offset + room]
        status = self._status.copy()
        if len(lines) > room:
            last = self._offset + room
            status.append(f"   lines {self._offset + 1}-{last} of {len(lines)}", QUIET)
        status.truncate(width, overflow="crop")
        # Written over the earlier picture, line by line, in one go: nothing blinks.
        picture = [Control.home().segment]
        for line in shown + [[]] * (room - len(shown)):
            picture += [*line, _CLEAR_REST, Segment.line()]
        picture += [*status.render(self._console, end=""), _CLEAR_REST]
        self._console.print(Segments(picture), end="", crop=False, soft_wrap=True)


@contextmanager
def _handler(
    number: int, handler: Callable[[int, FrameType | None], Any] | signal.Handlers
) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
