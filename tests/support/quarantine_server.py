"""The server with no patience, for tests of boards that fail.

Run as ``python -m tests.support.quarantine_server ARGUMENTS``.
"""

import sys

from spalloc_server import async_bmp_controller
from spalloc_server._saved import generation
from spalloc_server.server import main

if __name__ == "__main__":
    async_bmp_controller._SECONDS_BETWEEN_TRIES = 0.0
    generation.SMALLEST_LIMIT = generation.LARGEST_LIMIT = 2000
    sys.exit(main())
