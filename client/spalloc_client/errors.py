"""The errors of this library, in one family.

::

    SpallocError
     +- SpallocServerException     the server answered an exception
     +- JobDestroyedError          the job is over, or was never there
     +- StateChangeTimeoutError    the job did not get there in time
     +- ConfigError (ValueError)   a configuration file holds a bad value
     +- ProtocolError (OSError)    the conversation with the server failed
         +- ServerLostError        nobody there, or the connection ended
         +- ProtocolTimeoutError (TimeoutError)   no answer in time
         +- ServerVersionError (ValueError)       a server we cannot talk to
"""


class SpallocError(Exception):
    """Base of all errors that this library raises on purpose, wrong arguments apart."""


class SpallocServerException(SpallocError):  # noqa: N818 (the name is fixed by the interface)
    """The server answered a command with an exception; the text is the server's."""


class JobDestroyedError(SpallocError):
    """The job has been destroyed, or the server does not know it; the text says why.

    Attributes
    ----------
    reason : str or None
        The server's own words, if it had any. The text may say more: for example which
        limit excluded which machine.
    """

    def __init__(self, text: str = "", reason: str | None = None) -> None:
        super().__init__(text)
        self.reason = reason


class StateChangeTimeoutError(SpallocError):
    """The job did not change its state within the time given."""


class ConfigError(SpallocError, ValueError):
    """A configuration file holds something that is not allowed."""


class ProtocolError(SpallocError, OSError):
    """The conversation with the server failed."""


class ServerLostError(ProtocolError):
    """The server cannot be reached, or the connection to it ended."""


class ProtocolTimeoutError(ProtocolError, TimeoutError):
    """The server did not answer in time."""


class ServerVersionError(ProtocolError, ValueError):
    """The server is of a version that this client cannot talk to."""
