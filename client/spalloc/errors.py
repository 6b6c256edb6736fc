"""Second name of `spalloc_client.errors`."""

from spalloc_client.errors import *  # noqa: F403
