"""Second name of `spalloc_client.job`."""

from spalloc_client.job import *  # noqa: F403
