"""The server with a journal that is replaced all the time, for crash tests.

Run as ``python -m tests.support.crash_server ARGUMENTS``.
"""

import sys

from spalloc_server._saved import generation
from spalloc_server.server import main

if __name__ == "__main__":
    # Replaced after a few dozen outcomes instead of megabytes of them.
    generation.SMALLEST_LIMIT = generation.LARGEST_LIMIT = 6000
    sys.exit(main())
