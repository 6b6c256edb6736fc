"""Second name of `spalloc_client.config`."""

from spalloc_client.config import *  # noqa: F403
from spalloc_client.config import main

if __name__ == "__main__":
    raise SystemExit(main())
