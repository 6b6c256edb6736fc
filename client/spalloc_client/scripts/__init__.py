"""The commands: spalloc, spalloc-ps, spalloc-machine, spalloc-job, spalloc-where-is.

The installed programs call the functions here. Each first has Ctrl-C end the program
without a word, then loads its command; a traceback from half-loaded modules helps nobody.
"""

# The module `signal` itself takes longer to load than all the rest here.
import _signal  # type: ignore[import-not-found]
from importlib import import_module


def _start(name: str) -> int:
    # Ignored by a shell's &, or handled by our caller, it stays so.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
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
