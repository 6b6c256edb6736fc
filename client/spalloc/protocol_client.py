"""Second name of `spalloc_client.protocol_client`."""

from spalloc_client.protocol_client import *  # noqa: F403
