"""The creation of a job, which may be interrupted at any point.

It owns the question for the job and its answer, until the job is known or undone. The job's life
afterwards is none of its business.
"""

from contextlib import suppress

from spalloc_client._answers import read_job_id
from spalloc_client._connection import Outcome
from spalloc_client._session import Session
from spalloc_client._settings import Settings
from spalloc_client.errors import ProtocolError, ProtocolTimeoutError, SpallocServerException

#: How long to wait for the id of a job whose creation was interrupted, seconds.  # arbitrary
_PATIENCE_AFTER_INTERRUPT = 5.0


class Creation:
    """One job asked for.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._outcome = Outcome()

    def run(self, what: tuple[int, ...], settings: Settings) -> int:
        """Ask for the job, and return its id.

        Parameters
        ----------
        what : tuple of int
            The numbers that choose boards.
        settings : Settings

        Raises
        ------
        SpallocServerException
            If the server finds fault with the request.
        ProtocolError
            If the server cannot be reached, or does not answer in time (ProtocolTimeoutError).
        """
        self._session.connect().submit(
            self._outcome,
            "create_job",
            *what,
            owner=settings.owner,
            keepalive=settings.keepalive,
            machine=settings.machine,
            tags=settings.tags,
            min_ratio=settings.min_ratio,
            max_dead_boards=settings.max_dead_boards,
            max_dead_links=settings.max_dead_links,
            require_torus=settings.require_torus,
        )
        if not self._outcome.wait(settings.timeout):
            end = "stays until destroyed"
            if settings.keepalive is not None:
                end = f"ends by itself within {settings.keepalive:g} s"
            raise ProtocolTimeoutError(
                f"{self._session.server} did not answer create_job within {settings.timeout:g} s; "
                f"if it makes the job yet, that {end}"
            )
        return read_job_id(self._outcome.result())

    def undo(self, interrupted: bool) -> None:
        """Destroy the job as far as the server has made it, or is making it.

        Parameters
        ----------
        interrupted : bool
            Whether the answer may be on its way yet.
        """
        if interrupted and self._outcome.submitted:
            # The server is making the job; only its answer tells which one it is.
            self._session.nudge()
            self._outcome.wait(_PATIENCE_AFTER_INTERRUPT)
        if self._outcome.known:
            with suppress(ProtocolError, SpallocServerException):
                job_id = read_job_id(self._outcome.result())
                self._session.try_call(_PATIENCE_AFTER_INTERRUPT, "destroy_job", job_id)
