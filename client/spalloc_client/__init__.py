"""Use the boards of a SpiNNaker machine that a spalloc server shares.

:class:`Job` is all that most programs need; :class:`ProtocolClient` speaks to the server
directly. Settings come from arguments and from :mod:`spalloc_client.config`.

A name is loaded when it is first used: so the installed commands, which begin here, see to
Ctrl-C before they load anything else.
"""

from importlib import import_module

from spalloc_client._version import __version__

TYPE_CHECKING = False  # as in `typing`, without the time that loading it takes
if TYPE_CHECKING:
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

#: The modules that names of `__all__` are in, apart from the errors.
_MODULES = {"Job": "job", "ProtocolClient": "protocol_client", "JobState": "states"}
_SUBMODULES = ("config", "errors", "job", "protocol_client", "states")


def __getattr__(name: str) -> object:
    """Load a name of ours when it is first asked for."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the names, loaded or not."""
    return sorted({*globals(), *__all__, *_SUBMODULES})
