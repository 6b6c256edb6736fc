"""Run the server: ``python -m spalloc_server``, and the console commands.

Owns the moments before a program can be imported, and must not import
modules that make them longer.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Have Ctrl-C end the process without a word while a program is imported.

    A traceback from half-loaded modules helps nobody.  Where SIGINT is ignored, as by a shell's
    ``&``, it stays so.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def main() -> int:
    """Run the server with the arguments of the process.

    SIGHUP is ignored until the program takes it and after that: importing the
    server takes a while, in which a reload asked for would end the process.

    Returns
    -------
    int
        Exit status, see `server.main`.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with importing():
        from spalloc_server import server  # noqa: PLC0415 - this is what takes a while

    return server.main()


def state() -> int:
    """Run ``spalloc-state`` with the arguments of the process; returns its exit status."""
    with importing():
        from spalloc_server._programs import state_tool  # noqa: PLC0415

    return state_tool.main()


def simulator() -> int:
    """Run ``spalloc-simulator`` with the arguments of the process; returns its exit status."""
    with importing():
        from spalloc_server._simulator import main as program  # noqa: PLC0415

    return program.main()


def history() -> int:
    """Run ``spalloc-history`` with the arguments of the process; returns its exit status."""
    with importing():
        from spalloc_server._history import main as program  # noqa: PLC0415

    return program.main()


if __name__ == "__main__":
    sys.exit(main())
