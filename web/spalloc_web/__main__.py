"""``python -m spalloc_web`` is ``spalloc-web``.

Owns the moments before the program can be imported, and must not import modules that make them
longer.
"""

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run ``spalloc-web`` with the arguments of the process; returns its exit status.

    Ctrl-C ends it without a word while it is imported, as a traceback from half-loaded modules
    helps nobody, and with the status that a shell would give it before it serves.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from spalloc_web import _program  # noqa: PLC0415 - this is what takes a while
    finally:
        signal.signal(signal.SIGINT, before)

    try:
        return _program.main()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
