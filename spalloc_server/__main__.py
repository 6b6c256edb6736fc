"""Run the server: ``python -m spalloc_server``."""

import sys

if __name__ == "__main__":
    from spalloc_server.server import main

    sys.exit(main())
