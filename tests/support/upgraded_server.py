"""The server as another version of itself.

``python -m tests.support.upgraded_server N ARGUMENTS`` calls itself 1.1.N, and so it has a state
file of its own.
"""

import sys

from spalloc_server import _version

_version.__version__ = f"1.1.{sys.argv.pop(1)}"

if __name__ == "__main__":
    from spalloc_server.server import main

    sys.exit(main())
