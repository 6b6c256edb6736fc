"""Use the boards of a SpiNNaker machine that a spalloc server shares.

:class:`Job` is what most programs need; :class:`ProtocolClient` speaks to the server
directly. Settings come from arguments and from :mod:`spalloc_client.config`.
"""

from spalloc_client._version import __version__
from spalloc_client.errors import (
    ConfigError,
    JobDestroyedError,
    ProtocolError,
    ProtocolTimeoutError,
    ServerLostError,
    ServerVersionError,
    SpallocError,
    SpallocServerException,
    StateChangeTimeoutError,
)
from spalloc_client.job import Job
from spalloc_client.protocol_client import ProtocolClient
from spalloc_client.states import JobState

__all__ = [
    "ConfigError",
    "Job",
    "JobDestroyedError",
    "JobState",
    "ProtocolClient",
    "ProtocolError",
    "ProtocolTimeoutError",
    "ServerLostError",
    "ServerVersionError",
    "SpallocError",
    "SpallocServerException",
    "StateChangeTimeoutError",
    "__version__",
]
