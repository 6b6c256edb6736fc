"""How a program that prints something ends when nobody can read it.

Owns the last flush and the exit status.  Nothing is said where the reader has gone, as
in ``... | head``; shells do the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

#: The status that shells give to a program that died of a signal, less the signal's number.
_SIGNALLED = 128


def printing(prog: str, body: Callable[[], int]) -> int:
    """Run the body of a program that prints to standard output.

    Parameters
    ----------
    prog : str
        Its name, for complaints.
    body : callable
        Returns the exit status.

    Returns
    -------
    int
        The body's exit status; 130 after Ctrl-C and 141 if the reader has gone, as a shell would
        have it; 1 with a line on standard error if the output cannot be written.
    """
    _open_missing_streams()
    _escape_odd_characters()
    try:
        try:
            status = body()
        finally:
            # Also for --help and --version, which end by SystemExit.
            _flush_output()
    except KeyboardInterrupt:
        if _at_a_terminal():
            complain("")  # the prompt comes on a line of its own, not after ^C
        return _SIGNALLED + signal.SIGINT
    except BrokenPipeError:
        _abandon_output()
        return _SIGNALLED + signal.SIGPIPE
    except OSError as error:
        _abandon_output()
        complain(f"{prog}: {error}")
        return 1
    return status


def complain(text: str) -> None:
    """Print a line to standard error, if anybody reads it, in any encoding."""
    with contextlib.suppress(OSError, ValueError):
        print(text.encode("ascii", "backslashreplace").decode(), file=sys.stderr, flush=True)


def _flush_output() -> None:
    """Write the rest of the output, if there is one still: a configuration may close it."""
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def _at_a_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _open_missing_streams() -> None:
    """Give a program that was started with closed outputs some that lead nowhere.

    Without them the next file or socket would take their place and get the output.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _escape_odd_characters() -> None:
    """Have characters that the terminal cannot show written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        # Streams that other programs put in place may not know of encodings.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _abandon_output() -> None:
    """Keep the interpreter from writing the rest at its end, which would fail again."""
    with contextlib.suppress(OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
