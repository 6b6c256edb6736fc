"""Gives commands for users: the server knows these pages as a front, and judges each by its user.

Each command has a connection of its own, so that one that hangs holds up neither the pages nor
another user.  Knows nothing of HTTP, of users' files, or of the meaning of commands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from spalloc_web._facility.connection import (
    CommandRefusedError,
    Connection,
    ConnectionLostError,
)

#: Seconds that a command may take; an order is answered once it is durable.
TIMEOUT = 20.0


class FrontError(Exception):
    """A command that was not carried out, or not known to be; the text says which and why."""


class RefusedError(FrontError):
    """The server has refused a command; the text is the server's."""


class NotThereError(FrontError):
    """The server cannot be reached; nothing was done."""


class UncertainError(FrontError):
    """The connection ended before the answer: the command may have been carried out."""


class Standing(NamedTuple):
    """A user's standing at the server: the principal, and the class of its rules."""

    principal: str
    access: str


class Front:
    """Gives commands for users.

    Parameters
    ----------
    host, port
        Of the server, as for `Connection.open`.
    timeout : float
        Seconds that a command may take.
    """

    def __init__(self, host: str, port: int, timeout: float = TIMEOUT) -> None:
        self._place = host, port
        self._timeout = timeout

    async def call(
        self, user: str, address: str | None, command: str, *args: object, **kwargs: object
    ) -> Any:
        """Give a command for a user, and return the server's answer.

        Parameters
        ----------
        user : str
            The name, without ``user:``.
        address : str or None
            Of the user's computer.
        command, args, kwargs
            As of the protocol.

        Raises
        ------
        RefusedError, NotThereError, UncertainError
        """
        given = {**kwargs, "as_user": user, "from_host": address}
        try:
            connection = await Connection.open(*self._place, _ignore, self._timeout)
        except ConnectionLostError as e:
            raise NotThereError(f"The server is away ({e}); nothing was done.") from e
        try:
            async with connection:
                return await connection.call(command, *args, **given)
        except CommandRefusedError as e:
            raise RefusedError(str(e)) from e
        except ConnectionLostError as e:
            raise UncertainError(
                f"The server did not answer ({e}); it is not known whether it was done."
            ) from e

    async def standing(self, user: str, address: str | None) -> Standing:
        """Return a user's standing at the server.

        Raises
        ------
        FrontError
            If the server does not say, because it is away, older, or has no rule for us.
        """
        reply = await self.call(user, address, "get_facility")
        if not isinstance(reply, dict):
            raise RefusedError("The server does not tell users' rights.")
        return Standing(str(reply.get("principal", "?")), str(reply.get("access", "?")))


def _ignore(_: str, __: Any) -> None:
    """Take a notification that nobody asked for."""
