"""Whether the job that a server has under an id is still the one that we know.

Ids repeat when a server loses its state; owner and time of creation do not.
"""

from collections.abc import Iterable

from spalloc_client._answers import JobRow, JobStatus
from spalloc_client._text import clean
from spalloc_client.errors import JobDestroyedError
from spalloc_client.states import JobState

#: Times of creation that differ by less, in seconds, are the same, told by different
#: servers. Between two jobs of the same id lies a restart.  # arbitrary
_SAME_MOMENT = 1.0


class JobReplacedError(JobDestroyedError):
    """The job is gone, and another one has its id."""

    @property
    def status(self) -> JobStatus:
        """The status of a job that is not known any more, with the reason."""
        return JobStatus(JobState.unknown, None, None, str(self), None, None)


class Identity:
    """The features by which a job is recognised; those that are not known are None."""

    def __init__(self, owner: str | None) -> None:
        self._owner = owner
        self._start_time: float | None = None

    def learn(self, start_time: float | None) -> None:
        """Take in the job's time of creation."""
        if self._start_time is None:
            self._start_time = start_time

    def check(self, job_id: int, jobs: Iterable[JobRow]) -> None:
        """Compare with the jobs that a server has.

        Raises
        ------
        JobReplacedError
            If the server has another job under this id.
        """
        job = next((job for job in jobs if job.job_id == job_id), None)
        if job is None:
            return
        others = self._owner is not None and job.owner != self._owner
        if self._start_time is not None and job.start_time is not None:
            others = others or abs(job.start_time - self._start_time) >= _SAME_MOMENT
        if others:
            raise JobReplacedError(
                f"job {job_id} is gone: the server lost its state, and has given the number "
                f"{job_id} to a job of {clean(job.owner)}"
            )
        self.learn(job.start_time)
