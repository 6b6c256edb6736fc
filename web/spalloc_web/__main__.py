"""``python -m spalloc_web`` is ``spalloc-web``."""

import sys

from spalloc_web._program import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
