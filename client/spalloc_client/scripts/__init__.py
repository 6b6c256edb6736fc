"""The commands: spalloc, spalloc-ps, spalloc-machine, spalloc-job, spalloc-where-is.

Here is what the installed programs call. It loads the command only when Ctrl-C ends it
without a word; a traceback from half-loaded modules would tell nobody anything.
"""

import signal
from importlib import import_module


def _start(name: str) -> int:
    # Ignored by a shell's &, or handled by who called us, it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status: int = import_module(f"{__name__}.{name}").main()
    return status


def spalloc() -> int:
    """Run spalloc and return its exit status."""
    return _start("alloc")


def spalloc_ps() -> int:
    """Run spalloc-ps and return its exit status."""
    return _start("ps")


def spalloc_machine() -> int:
    """Run spalloc-machine and return its exit status."""
    return _start("machine")


def spalloc_job() -> int:
    """Run spalloc-job and return its exit status."""
    return _start("job")


def spalloc_where_is() -> int:
    """Run spalloc-where-is and return its exit status."""
    return _start("where_is")
