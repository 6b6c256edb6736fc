"""Jobs that change hands: codes are asked for, and taken at their word.

Owns the check of the caller and of the code.  Must not know connections: the caller comes as a
`Standing`.
"""

from __future__ import annotations

from spalloc_server import _clock
from spalloc_server._access.policy import AccessClass
from spalloc_server._access.takeover import Tries, hash_of, new_code
from spalloc_server._wire.doorkeeper import NotAllowedError, Standing
from spalloc_server.controller import Controller


class Ownership:
    """Hands jobs over from one principal to another."""

    def __init__(self) -> None:
        self._tries = Tries()

    def new_code(self, controller: Controller, caller: Standing, job_id: int) -> str | None:
        """Return a new code by which a job may be taken over; an earlier one is void.

        Returns
        -------
        str or None
            None for an unknown job.

        Raises
        ------
        NotAllowedError
            If the job is another principal's, and the caller no operator.
        """
        owner = controller.belonging.principal_of(job_id)
        if owner is None:
            return None
        principal = caller.principal
        if principal not in (owner, "local") and caller.access is not AccessClass.operate:
            raise NotAllowedError(
                f"job {job_id} is of {owner}, you are {principal}: only its own principal or an "
                "operator can ask for a code"
            )
        code = new_code()
        controller.belonging.set_takeover_code(job_id, hash_of(code))
        return code

    def take_over(
        self, controller: Controller, caller: Standing, job_id: int, code: str
    ) -> bool:
        """Make the caller a job's principal.

        Returns
        -------
        bool
            False for an unknown job.

        Raises
        ------
        NotAllowedError
            If the code is wrong.
        TooManyTriesError
            If too many wrong ones were tried; a right one does not help then.
        """
        if controller.belonging.principal_of(job_id) is None:
            return False
        kept = controller.belonging.takeover_code(job_id)
        if not self._tries.is_right(job_id, code, kept, _clock.monotonic()):
            raise NotAllowedError(
                f"this is not the code of job {job_id}: it has changed, was used, or is another's"
            )
        controller.belonging.give_job(job_id, caller.principal)
        return True
