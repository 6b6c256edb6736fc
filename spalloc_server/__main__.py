"""Run the server: ``python -m spalloc_server``, and the console commands.

Owns the moments before the server can be imported, and must not import
modules that make them longer.
"""

import signal
import sys


def main() -> int:
    """Run the program with the arguments of the process.

    SIGHUP is ignored until the program takes it and after that: importing the
    server takes a while, in which a reload asked for would end the process.

    Returns
    -------
    int
        Exit status, see `server.main`.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from spalloc_server import server  # noqa: PLC0415 - this is what takes a while

    return server.main()


if __name__ == "__main__":
    sys.exit(main())
