"""Second name of `spalloc_client.states`."""

from spalloc_client.states import *  # noqa: F403
