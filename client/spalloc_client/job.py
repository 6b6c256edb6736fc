"""A job: boards of our own for a while.

It owns the life of one job, from asking for boards to giving them back, and says nothing
of how it looks. Connections are the session's business, signs of life the keepalive's.
"""

import logging
import math
import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from spalloc_client._answers import (
    Board,
    JobMachine,
    JobStatus,
    read_jobs,
    read_machine_info,
    read_machines,
    read_place,
    read_status,
)
from spalloc_client._arguments import NOT_GIVEN, Missing, settle
from spalloc_client._connection import Connection
from spalloc_client._creation import Creation
from spalloc_client._identity import Identity, JobReplacedError
from spalloc_client._keepalive import Keepalive
from spalloc_client._queue import explain_refusal
from spalloc_client._request import check_numbers
from spalloc_client._session import Changes, Session
from spalloc_client.errors import (
    JobDestroyedError,
    ProtocolError,
    ProtocolTimeoutError,
    ServerLostError,
    SpallocServerException,
    StateChangeTimeoutError,
)
from spalloc_client.states import JobState

__all__ = ["Job", "JobDestroyedError", "JobState", "StateChangeTimeoutError"]

_log = logging.getLogger(__name__)

#: How the reason of a job begins that no machine suits.
NO_MACHINE = "Cancelled: No suitable machines available"


class Job:
    """Boards on a SpiNNaker machine, ours until the job is destroyed.

    ::

        with Job(24, hostname="spalloc.example.org", owner="me@example.org") as job:
            boot(job.hostname, job.width, job.height)

    A context manager: waits until the boards are ready, and destroys the job at the end.
    Settings that are not given as arguments are taken from the environment and the
    configuration files (see :mod:`spalloc_client.config`). In the background a process
    keeps the job alive until it is destroyed, closed, or this program is gone. In a forked
    child the object can be asked, but leaving its ``with`` block there does nothing: the
    job is its parent's.

    Parameters
    ----------
    *what : int
        Nothing or 1: a board; `n`: at least so many boards; `w`, `h`: a block of that
        many triads; `x`, `y`, `z`: the board with these logical coordinates.
    hostname : str
        The server, or the path of its Unix socket. Needed, here or in a configuration file.
    port : int
        Its TCP port.
    reconnect_delay : float
        Seconds between attempts to reach a lost server.
    timeout : float or None
        Seconds to wait for an answer of the server; None: for ever.
    config_filenames : str or sequence of str
        Configuration files to read instead of the usual ones and the environment.
    resume_job_id : int
        Take over this job, rather than ask for a new one.
    owner : str
        The job's owner, by convention an e-mail address. Needed for a new job.
    keepalive : float or None
        Seconds without a sign of life from us after which the server destroys the job;
        None: never.
    machine : str or None
        Only boards of this machine.
    tags : sequence of str or None
        Only machines that have all of these; None: those tagged "default".
    min_ratio : float
        For `n` boards: short side divided by long side of the block at least.
    max_dead_boards, max_dead_links : int or None
        So many may be dead in the block; None: any number.
    require_torus : bool
        The block must have wrap-around links.
    tls : bool
        Encrypt, and make sure of the server by its certificate.
    ca : str or None
        File with the certificates of authorities to trust, instead of the system's.
    cert, key : str or None
        Files with a certificate of our own and its key, which must not need a password.
    takeover_code : str
        With `resume_job_id`: the code that the job's present holder got by
        `get_takeover_code`; the job is ours afterwards.

    Attributes
    ----------
    id : int
        The job's number.

    Raises
    ------
    ValueError
        If hostname or owner are missing, both machine and tags are given, or a number or
        a setting is none that can be meant.
    JobDestroyedError
        If the job to be taken over is gone.
    SpallocServerException
        If the server finds fault with the request.
    ProtocolError
        If the server cannot be reached, does not answer in time (ProtocolTimeoutError)
        or is of a version we cannot talk to (ServerVersionError).
    """

    def __init__(
        self,
        *what: int,
        hostname: str | Missing | None = NOT_GIVEN,
        port: int | Missing = NOT_GIVEN,
        reconnect_delay: float | Missing = NOT_GIVEN,
        timeout: float | Missing | None = NOT_GIVEN,
        config_filenames: str | Sequence[str] | None = None,
        resume_job_id: int | None = None,
        owner: str | Missing | None = NOT_GIVEN,
        keepalive: float | Missing | None = NOT_GIVEN,
        machine: str | Missing | None = NOT_GIVEN,
        tags: Sequence[str] | Missing | None = NOT_GIVEN,
        min_ratio: float | Missing | None = NOT_GIVEN,
        max_dead_boards: int | Missing | None = NOT_GIVEN,
        max_dead_links: int | Missing | None = NOT_GIVEN,
        require_torus: bool | Missing = NOT_GIVEN,
        tls: bool | Missing = NOT_GIVEN,
        ca: str | Missing | None = NOT_GIVEN,
        cert: str | Missing | None = NOT_GIVEN,
        key: str | Missing | None = NOT_GIVEN,
        takeover_code: str | None = None,
    ) -> None:
        given = {
            "hostname": hostname or NOT_GIVEN,
            "port": port,
            "reconnect_delay": reconnect_delay,
            "timeout": timeout,
            "owner": owner or NOT_GIVEN,
            "keepalive": keepalive,
            "machine": machine,
            "tags": tags,
            "min_ratio": min_ratio,
            "max_dead_boards": max_dead_boards,
            "max_dead_links": max_dead_links,
            "require_torus": require_torus,
            "tls": tls,
            "ca": ca,
            "cert": cert,
            "key": key,
        }
        numbers = check_numbers(what)
        settings = settle(config_filenames, given)
        # A job that is taken over may have been asked for in other words.
        self._request = None if resume_job_id is not None else settings.request(numbers)
        if settings.hostname is None:
            raise ValueError("no hostname: give one, or put it into a configuration file")
        if settings.owner is None and resume_job_id is None:
            raise ValueError("no owner: give one, or put it into a configuration file")
        if takeover_code is not None and resume_job_id is None:
            raise ValueError("takeover_code needs resume_job_id, the job that it belongs to")
        self._endpoint = settings.endpoint()
        self._settings = settings
        self._process_id = os.getpid()
        self._closed = False
        self._end: JobStatus | None = None  # set once we have destroyed the job
        self._guard: Keepalive | None = None
        self._identity = Identity(settings.owner if resume_job_id is None else None)
        self._session = Session(
            self._endpoint, settings.timeout, settings.reconnect_delay, self._recognise
        )
        creation = Creation(self._session)
        try:
            if resume_job_id is None:
                self.id = creation.run(numbers, settings)
                self._keepalive = settings.keepalive
            else:
                self.id = resume_job_id
                self._keepalive = self._take_over(takeover_code)
            self._start_keepalive()
        except BaseException as exc:
            # Nothing is left behind when the constructor fails, at any point.
            try:
                creation.undo(interrupted=not isinstance(exc, Exception))
            finally:
                self.close()
            raise

    def __repr__(self) -> str:
        return f"<Job {self.id} at {self._session.server}>"

    def __enter__(self) -> "Job":
        try:
            self.wait_until_ready()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    @property
    def alive(self) -> bool:
        """Whether the job is there and ours: made, and neither destroyed nor closed by us."""
        return hasattr(self, "id") and not self._closed

    # --- the end ---

    def destroy(self, reason: str | None = None) -> None:
        """Give the boards back; the job is over.

        Parameters
        ----------
        reason : str, optional
            For others to read.

        Raises
        ------
        ProtocolError
            If the server cannot be told. The job then ends when its keepalive period is
            over, because the signs of life stop in any case.
        JobDestroyedError
            If the server lost its state, and has given this job's id to another one.
        """
        try:
            self._ask("destroy_job", self.id, reason)
            self._end = JobStatus(JobState.destroyed, None, None, reason, None, None)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the job without destroying it.

        The signs of life stop: unless somebody takes it over (`resume_job_id`), the
        server destroys it when its keepalive period is over. Threads that wait for the
        job stop waiting.
        """
        self._closed = True
        guard, self._guard = self._guard, None
        try:
            if guard is not None:
                guard.stop()
        finally:
            self._session.close()
            self._session.tell_listeners()

    # --- facts about it ---

    @property
    def state(self) -> JobState:
        """The job's present state."""
        return self._status().state

    @property
    def power(self) -> bool | None:
        """Whether the boards are on, or going there; None without boards."""
        return self._status().power

    @property
    def reason(self) -> str | None:
        """Why the job was destroyed; None while it lives."""
        return self._status().reason

    @property
    def keepalive(self) -> float | None:
        """Seconds without a sign of life that the job survives; None: any number."""
        return self._keepalive

    @property
    def hostname(self) -> str | None:
        """The name of the board with chip (0, 0); None without boards."""
        return (self.connections or {}).get((0, 0))

    @property
    def connections(self) -> dict[tuple[int, int], str] | None:
        """The boards' names, by the position of their Ethernet chip; None without boards."""
        return self._machine_info().connections

    @property
    def width(self) -> int | None:
        """Width of the network of chips; None without boards."""
        return self._machine_info().width

    @property
    def height(self) -> int | None:
        """Height of the network of chips; None without boards."""
        return self._machine_info().height

    @property
    def machine_name(self) -> str | None:
        """The machine that the boards are of; None without boards."""
        return self._machine_info().machine_name

    @property
    def boards(self) -> list[Board] | None:
        """The boards' logical coordinates (x, y, z); None without boards."""
        return self._machine_info().boards

    def where_is_machine(self, chip_x: int, chip_y: int) -> Board:
        """Find the board that a chip of this job is on.

        Parameters
        ----------
        chip_x, chip_y : int
            The chip, in the job's own coordinates.

        Returns
        -------
        (cabinet, frame, board)
            Where to look for it in the machine room.

        Raises
        ------
        ValueError
            If the job has no such chip.
        """
        answer = self._ask("where_is", job_id=self.id, chip_x=chip_x, chip_y=chip_y)
        place = read_place(answer)
        if place is None:
            raise ValueError(f"job {self.id} has no chip ({chip_x}, {chip_y})")
        return place.physical

    # --- handing it over ---

    def get_takeover_code(self) -> str:
        """Return a code by which somebody else may take the job over; an earlier one is void.

        Raises
        ------
        SpallocServerException
            If the job is not ours, or the server knows no codes.
        JobDestroyedError
            If the job is gone.
        """
        if not self._session.facility().offers("get_takeover_code"):
            raise SpallocServerException("this server knows no codes for taking jobs over")
        code = self._ask("get_takeover_code", self.id)
        if code is None:
            raise JobDestroyedError(f"the server does not know job {self.id} (any more)")
        return str(code)

    # --- power ---

    def set_power(self, on: bool) -> None:
        """Switch the boards on (off and on again, if on) or off; does not wait for it."""
        self._ask("power_on_job_boards" if on else "power_off_job_boards", self.id)

    def reset(self) -> None:
        """Switch the boards off and on again; does not wait for it."""
        self.set_power(True)

    # --- waiting ---

    def wait_for_state_change(self, old_state: JobState, timeout: float | None = None) -> JobState:
        """Wait until the job is in another state than `old_state`.

        A lost or silent server is waited for as well.

        Parameters
        ----------
        old_state : JobState
            The state that is of no interest.
        timeout : float, optional
            Seconds to wait; None: for ever.

        Returns
        -------
        JobState
            The new state; `old_state` if there was none in time, or before `close`.

        Raises
        ------
        ProtocolError
            If the server sends nonsense, or has been replaced by one of a version we
            cannot talk to.
        """
        status = self._wait(old_state, _end_of(timeout))
        return old_state if status is None else status.state

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """Wait until the boards are there and powered as asked.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; None: for ever.

        Raises
        ------
        StateChangeTimeoutError
            If that was not long enough, or `close` was called meanwhile.
        JobDestroyedError
            If the job is over; the text is the server's reason.
        ProtocolError
            As for `wait_for_state_change`.
        """
        end = _end_of(timeout)
        state: JobState | None = None
        while state is not JobState.ready:
            status = self._wait(state, end)
            if status is None and self._closed:
                raise StateChangeTimeoutError(f"job {self.id} was closed before it was ready")
            if status is None:
                known = "its server is silent" if state is None else f"it is still {state.name}"
                raise StateChangeTimeoutError(
                    f"job {self.id} was not ready within {timeout:g} s: {known}"
                )
            self._check_alive(status)
            state = status.state

    def _wait(self, old_state: JobState | None, end: float | None) -> JobStatus | None:
        """Wait for another state; None if there was none until `end`, or `close`."""
        self._session.subscribe("notify_job", self.id)
        changes = Changes()
        try:
            with self._session.listen(changes):
                while True:
                    status = self._look(end)
                    # By value: a state may have been kept as the number that it is.
                    if status is not None and status.state != old_state:
                        return status
                    left = _left(end)
                    if left <= 0:
                        return None
                    if status is None:
                        left = min(left, max(self._settings.reconnect_delay, 0.05))
                    self._pause(changes, left, until_news=status is not None)
                    if self._closed:
                        return None if old_state == JobState.destroyed else self._end
        finally:
            if self._closed:  # we may have made a connection since
                self._session.close()

    def _pause(self, changes: Changes, seconds: float, until_news: bool) -> None:
        """Wait so long, or until there are news, and never after `close`."""
        end = time.monotonic() + seconds
        while not self._closed and (left := end - time.monotonic()) > 0:
            if changes.wait(left) and until_news:
                return

    def _look(self, end: float | None) -> JobStatus | None:
        """Ask for the state once; None if the server cannot be asked just now."""
        self._keep_guarded()
        # A second at least: without any time left, the present state is still of interest.
        timeout = min(_left(end, at_least=1.0), _left(_end_of(self._settings.timeout)))
        limit = None if timeout == math.inf else timeout
        try:
            status = read_status(self._session.try_call(limit, "get_job_state", self.id))
        except JobReplacedError as exc:
            return exc.status
        except (ServerLostError, ProtocolTimeoutError) as exc:
            _log.info("%s; trying again", exc)
            return None
        self._identity.learn(status.start_time)
        return status

    # --- helpers ---

    def _recognise(self, connection: Connection, timeout: float | None) -> None:
        """Make sure that the server at the other end still has this job under its id.

        A server that lost its state counts from 1 again, and gives our id to somebody else.
        """
        if hasattr(self, "id"):
            self._identity.check(self.id, read_jobs(connection.call(timeout, "list_jobs")))

    def _status(self) -> JobStatus:
        try:
            status = read_status(self._ask("get_job_state", self.id))
        except JobReplacedError as exc:
            return exc.status
        self._identity.learn(status.start_time)
        return status

    def _machine_info(self) -> JobMachine:
        try:
            return read_machine_info(self._ask("get_job_machine_info", self.id))
        except JobReplacedError:
            return JobMachine(None, None, None, None, None)

    def _ask(self, name: str, *args: object, **kwargs: object) -> Any:
        self._keep_guarded()
        try:
            return self._session.call(name, *args, **kwargs)
        finally:
            if self._closed:  # asked afterwards, to learn how it ended
                self._session.close()

    def _keep_guarded(self) -> None:
        guard = self._guard
        if guard is not None:
            guard.ensure()

    def _check_alive(self, status: JobStatus) -> None:
        if status.state is JobState.unknown:
            text = status.reason or f"the server does not know job {self.id} (any more)"
            raise JobDestroyedError(text)
        if status.state is JobState.destroyed:
            text = status.reason or f"job {self.id} was destroyed"
            raise JobDestroyedError(text + self._explanation(text), status.reason)

    def _explanation(self, reason: str) -> str:
        """Say which limit excluded which machine, if that is why the job ended."""
        if self._request is None or not reason.startswith(NO_MACHINE):
            return ""
        try:
            machines = read_machines(self._ask("list_machines"))
            scheduling = self._session.facility().scheduling
        except (ProtocolError, SpallocServerException) as exc:
            _log.debug("no machines to explain it by: %s", exc)
            return ""
        return f" {explain_refusal(self._request, machines, scheduling)}"

    def _take_over(self, code: str | None) -> float | None:
        if code is not None:
            if not self._session.facility().offers("take_over_job"):
                raise SpallocServerException("this server knows no codes for taking jobs over")
            self._session.call("take_over_job", self.id, code)
        status = read_status(self._session.call("get_job_state", self.id))
        self._check_alive(status)
        self._identity.learn(status.start_time)
        return status.keepalive

    def _start_keepalive(self) -> None:
        if self._keepalive is not None:
            self._guard = Keepalive(
                self._endpoint,
                self.id,
                self._keepalive,
                self._settings.reconnect_delay,
            )

    def _leave(self) -> None:
        """Destroy the job if it is still ours; the last resort is its keepalive period."""
        if self._closed or os.getpid() != self._process_id:
            return
        try:
            self.destroy()
        except JobDestroyedError as exc:
            _log.warning("%s", exc)
        except (ProtocolError, SpallocServerException) as exc:
            _log.warning(
                "job %s could not be destroyed: %s; %s",
                self.id,
                exc,
                "it goes on, having no keepalive period"
                if self._keepalive is None
                else f"it will end by itself within {self._keepalive:g} s",
            )


def _end_of(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(end: float | None, at_least: float = -math.inf) -> float:
    return math.inf if end is None else max(end - time.monotonic(), at_least)
