"""A pseudo terminal of a fixed size with a program in it, and the content of its screen."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.unmeasured import unmeasured

#: Escape sequences that move or erase something, and those that only colour.
_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b[=>]|([^\x1b])")

#: Makes the terminal its own, as a shell's children find it, and becomes the command.
_TAKE_TERMINAL = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.argv[:1] = []
{}
runpy.run_module(sys.argv[0], run_name="__main__")
"""


class Screen:
    """A terminal emulator, as far as our programs need one.

    It fails on sequences that it does not know, so that none goes unnoticed.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.alternate = False
        self.cursor_shown = True
        self.colours = 0
        self.styles = 0
        self.clears = 0
        #: How often the alternate screen was left.
        self.given_back = 0
        self._row = self._column = 0
        self._cells: dict[tuple[int, int], str] = {}

    def feed(self, text: str) -> None:
        """Take the output of the program."""
        for match in _TOKEN.finditer(text):
            numbers, command, letter = match.groups()
            if letter is not None:
                self._put(letter)
            elif command is not None:
                self._obey(numbers, command)

    def lines(self) -> list[str]:
        """Return the lines to be seen."""
        rows = [[" "] * self.columns for _ in range(self.rows)]
        for (row, column), letter in self._cells.items():
            if row < self.rows and column < self.columns:
                rows[row][column] = letter
        return ["".join(row).rstrip() for row in rows]

    def at_line_start(self) -> bool:
        """Whether the cursor is in the first column."""
        return self._column == 0

    def _put(self, letter: str) -> None:
        if letter == "\n":
            self._row += 1
        elif letter == "\r":
            self._column = 0
        else:
            self._cells[self._row, self._column] = letter
            self._column += 1

    def _obey(self, numbers: str, command: str) -> None:
        if command == "m":
            self.styles += 1
            self.colours += any(number and int(number) >= 30 for number in numbers.split(";"))
        elif command == "H":
            self._row = self._column = 0
        elif command == "K":
            for column in range(self._column, self.columns):
                self._cells.pop((self._row, column), None)
            if numbers == "2":
                self._cells = {at: x for at, x in self._cells.items() if at[0] != self._row}
        elif command == "A":
            self._row -= int(numbers or 1)
        elif command in "hl":
            if numbers == "?1049":
                self.alternate = command == "h"
                self.given_back += command == "l"
                self._cells = {}
            elif numbers == "?25":
                self.cursor_shown = command == "h"
            else:
                raise AssertionError(f"unknown mode {numbers}")
        elif command == "J":
            self.clears += 1
            self._cells = {}
        else:
            raise AssertionError(f"unknown sequence {numbers}{command}")


class Terminal:
    """Runs one of our commands in a terminal of `columns` x `rows`.

    `before` is a line of Python for the command to begin with; `struck` says that a signal will
    strike it. At the end of the block it is asked to quit if it still runs.
    """

    def __init__(
        self,
        words: list[str],
        columns: int = 80,
        rows: int = 24,
        before: str = "",
        struck: bool = False,
        **environment: str,
    ) -> None:
        own = unmeasured() if struck else os.environ
        self.screen = Screen(columns, rows)
        self._master, self._slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self._slave)
        module = words[0].replace("spalloc-", "").replace("-", "_").replace("spalloc", "alloc")
        program = [_TAKE_TERMINAL.format(before), f"spalloc_client.scripts.{module}"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", *program, *words[1:]],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            env={**own, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment},
        )
        self._text = b""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self.process.poll() is None and exc is None:
                # Killed, it could not report coverage.
                self.press(b"q")
                self.wait_for_end()
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._master)
            os.close(self._slave)

    def resize(self, columns: int, rows: int) -> None:
        """Change the terminal's size; the program in it gets SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.columns, self.screen.rows = columns, rows

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._master, keys)

    def wait_for(self, seen: Callable[[list[str]], Any]) -> list[str]:
        """Wait until the screen shows something; returns its lines."""
        while not seen(self.screen.lines()):
            assert select.select([self._master], [], [], 30)[0], self.screen.lines()
            self._read()
        return self.screen.lines()

    def wait_for_end(self) -> int:
        """Wait until the program has ended; returns its status."""
        ended = os.pidfd_open(self.process.pid)
        while ended not in (ready := select.select([self._master, ended], [], [], 30)[0]):
            assert ready, self.screen.lines()
            self._read()
        while select.select([self._master], [], [], 0)[0]:
            self._read()
        os.close(ended)
        return self.process.wait()

    def sane(self) -> bool:
        """Whether the terminal is as it was before."""
        settings = termios.tcgetattr(self._slave)
        return settings == self.before and self.screen.cursor_shown and not self.screen.alternate

    def _read(self) -> None:
        self._text += os.read(self._master, 1 << 16)
        # Halves of letters and of sequences wait for the rest.
        end = len(self._text)
        tail = self._text.rfind(b"\x1b")
        if tail >= 0 and not re.match(rb"\x1b(\[[?\d;]*[A-Za-z]|[=>])", self._text[tail:]):
            end = tail
        while True:
            try:
                text = self._text[:end].decode()
                break
            except UnicodeDecodeError:
                end -= 1
        self._text = self._text[end:]
        self.screen.feed(text)
