"""The protocol's commands as methods, over one connection that the caller opens.

Answers are handed on as they came: numbers, texts, arrays and objects. It does
not reconnect, nor look at the server's version; :class:`spalloc_client.Job` does.
"""

import queue
from types import TracebackType
from typing import Any

from spalloc_client._connection import Connection
from spalloc_client._endpoint import Endpoint
from spalloc_client.errors import (
    ProtocolError,
    ProtocolTimeoutError,
    ServerLostError,
    SpallocServerException,
)

__all__ = [
    "DEFAULT_PORT",
    "ProtocolClient",
    "ProtocolError",
    "ProtocolTimeoutError",
    "ServerLostError",
    "SpallocServerException",
]

#: Where servers listen unless told otherwise.
DEFAULT_PORT = 22244


class ProtocolClient:
    """A client of a spalloc server, to be used from any number of threads.

    ::

        with ProtocolClient("spalloc.example.org") as client:
            print(client.version())

    Parameters
    ----------
    hostname : str
        The server's name or address; or the path of its Unix socket.
    port : int
        Its TCP port.
    timeout : float, optional
        Seconds to wait for an answer when a call does not say otherwise; None: for ever.
    tls, ca, cert, key
        As for :class:`spalloc_client.Job`.

    Raises
    ------
    ValueError
        If the host name cannot be one, or a file for TLS cannot be used.
    """

    def __init__(
        self,
        hostname: str,
        port: int = DEFAULT_PORT,
        timeout: float | None = None,
        *,
        tls: bool = False,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
    ) -> None:
        self._endpoint = Endpoint(hostname, port, tls=tls, ca=ca, cert=cert, key=key)
        self._timeout = timeout
        self._connection: Connection | None = None
        self._messages: queue.SimpleQueue[dict[str, Any] | ProtocolError] = queue.SimpleQueue()

    def connect(self, timeout: float | None = None) -> None:
        """Open the connection; does nothing while there is one.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait (None: as said at construction).

        Raises
        ------
        ServerLostError
            If nobody answers there.
        ProtocolTimeoutError
            If it takes too long.
        """
        if self._connection is not None and self._connection.ended is None:
            return
        self._messages = queue.SimpleQueue()
        connection = Connection(self._endpoint, self._messages.put)
        try:
            connection.wait_open(self._timeout if timeout is None else timeout)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def close(self) -> None:
        """Close the connection; calls that are waiting raise ServerLostError."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> "ProtocolClient":
        self.connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def call(
        self, name: str, *args: object, timeout: float | None = None, **kwargs: object
    ) -> Any:
        """Send a command and return the server's answer.

        Parameters
        ----------
        name : str
            The command.
        timeout : float, optional
            Seconds to wait (None: as said at construction).
        *args, **kwargs
            The command's arguments, to be written as JSON.

        Returns
        -------
        object
            The answer, read from JSON.

        Raises
        ------
        SpallocServerException
            If the server answered an exception. The connection stays usable.
        ProtocolTimeoutError
            If no answer came in time. The connection stays usable; a late answer is
            thrown away.
        ProtocolError
            If there is no connection, or it ended, or the server sent nonsense.
        """
        connection = self._connection
        if connection is None:
            raise ServerLostError(f"not connected to {self._endpoint.text}")
        limit = self._timeout if timeout is None else timeout
        return connection.call(limit, name, *args, **kwargs)

    def wait_for_notification(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Return the next notification of the server.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; None: for ever; negative: do not wait, and return None if
            none is here.

        Returns
        -------
        dict or None
            ``{"jobs_changed": [id, ...]}``, ``{"machines_changed": [name, ...]}`` or
            ``{"events_until": number}``.

        Raises
        ------
        ProtocolTimeoutError
            If none came in time.
        ProtocolError
            If there is no connection, or it ended.
        """
        if self._connection is None:
            raise ServerLostError(f"not connected to {self._endpoint.text}")
        messages = self._messages
        try:
            if timeout is not None and timeout <= 0:
                message = messages.get_nowait()
            else:
                message = messages.get(timeout=timeout)
        except queue.Empty:
            if timeout is not None and timeout < 0:
                return None
            raise ProtocolTimeoutError(f"no notification within {timeout:g} s") from None
        if isinstance(message, ProtocolError):
            messages.put(message)  # for the other threads that wait
            raise message
        return message

    # --- the protocol's commands ---

    def version(self, timeout: float | None = None) -> str:
        """Return the server's version, as text."""
        return str(self.call("version", timeout=timeout))

    def create_job(self, *args: int, timeout: float | None = None, **kwargs: object) -> int:
        """Ask for boards and return the new job's id.

        Parameters
        ----------
        *args : int
            None or 1: a board; `n`: so many boards; `w`, `h`: a block of triads;
            `x`, `y`, `z`: that board.
        **kwargs
            owner, keepalive, machine, tags, min_ratio, max_dead_boards, max_dead_links,
            require_torus.
        """
        job_id: int = self.call("create_job", *args, timeout=timeout, **kwargs)
        return job_id

    def job_keepalive(self, job_id: int, timeout: float | None = None) -> None:
        """Let the job's keepalive period start anew."""
        self.call("job_keepalive", job_id, timeout=timeout)

    def get_job_state(self, job_id: int, timeout: float | None = None) -> dict[str, Any]:
        """Return state, power, keepalive, reason, start_time and keepalivehost."""
        state: dict[str, Any] = self.call("get_job_state", job_id, timeout=timeout)
        return state

    def get_job_machine_info(self, job_id: int, timeout: float | None = None) -> dict[str, Any]:
        """Return width, height, connections, machine_name and boards."""
        info: dict[str, Any] = self.call("get_job_machine_info", job_id, timeout=timeout)
        return info

    def power_on_job_boards(self, job_id: int, timeout: float | None = None) -> None:
        """Switch the job's boards on, or off and on again."""
        self.call("power_on_job_boards", job_id, timeout=timeout)

    def power_off_job_boards(self, job_id: int, timeout: float | None = None) -> None:
        """Switch the job's boards off."""
        self.call("power_off_job_boards", job_id, timeout=timeout)

    def destroy_job(
        self, job_id: int, reason: str | None = None, timeout: float | None = None
    ) -> None:
        """End the job."""
        self.call("destroy_job", job_id, reason, timeout=timeout)

    def notify_job(self, job_id: int | None = None, timeout: float | None = None) -> None:
        """Ask for notifications of changes of a job, or of all (None)."""
        self.call("notify_job", job_id, timeout=timeout)

    def no_notify_job(self, job_id: int | None = None, timeout: float | None = None) -> None:
        """Stop notifications of changes of a job, or of all (None)."""
        self.call("no_notify_job", job_id, timeout=timeout)

    def notify_machine(
        self, machine_name: str | None = None, timeout: float | None = None
    ) -> None:
        """Ask for notifications of changes of a machine, or of all (None)."""
        self.call("notify_machine", machine_name, timeout=timeout)

    def no_notify_machine(
        self, machine_name: str | None = None, timeout: float | None = None
    ) -> None:
        """Stop notifications of changes of a machine, or of all (None)."""
        self.call("no_notify_machine", machine_name, timeout=timeout)

    def list_jobs(self, timeout: float | None = None) -> list[dict[str, Any]]:
        """Return the jobs that are queued or running, oldest first."""
        jobs: list[dict[str, Any]] = self.call("list_jobs", timeout=timeout)
        return jobs

    def list_machines(self, timeout: float | None = None) -> list[dict[str, Any]]:
        """Return the machines, highest priority first."""
        machines: list[dict[str, Any]] = self.call("list_machines", timeout=timeout)
        return machines

    def get_board_position(
        self, machine_name: str, x: int, y: int, z: int, timeout: float | None = None
    ) -> list[int] | None:
        """Return the [cabinet, frame, board] of a board, or None if there is none."""
        position: list[int] | None = self.call(
            "get_board_position", machine_name, x, y, z, timeout=timeout
        )
        return position

    def get_board_at_position(
        self, machine_name: str, x: int, y: int, z: int, timeout: float | None = None
    ) -> list[int] | None:
        """Return the logical [x, y, z] of a board, or None if there is none.

        Parameters
        ----------
        machine_name : str
            The machine.
        x, y, z : int
            Cabinet, frame and board (these names are the protocol's).
        timeout : float, optional
            Seconds to wait.
        """
        position: list[int] | None = self.call(
            "get_board_at_position", machine_name, x, y, z, timeout=timeout
        )
        return position

    def where_is(self, timeout: float | None = None, **kwargs: object) -> dict[str, Any] | None:
        """Return all that is known of a board or chip, or None if there is none.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait.
        **kwargs
            One of these sets: (machine, x, y, z), (machine, cabinet, frame, board),
            (machine, chip_x, chip_y), (job_id, chip_x, chip_y); from server version 1.1.0
            also (machine, address) of a board or BMP.
        """
        place: dict[str, Any] | None = self.call("where_is", timeout=timeout, **kwargs)
        return place

    # --- commands of servers from version 1.1.0; older ones close the connection on them ---

    def get_facility(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the commands that there are, and the operator's message.

        The object has the members commands, message, accepting, scheduling and patience.
        Send the commands below only if they are among `commands`.
        """
        facility: dict[str, Any] = self.call("get_facility", timeout=timeout)
        return facility

    def list_boards(
        self, machine_name: str, timeout: float | None = None
    ) -> dict[str, Any] | None:
        """Return each board of a machine with its state, or None if there is no such machine.

        ``boards`` is an array of [x, y, z, state, job_id or null, text or null]; ``event`` is
        the number of the last event that it contains.
        """
        boards: dict[str, Any] | None = self.call("list_boards", machine_name, timeout=timeout)
        return boards

    def list_places(
        self, machine_name: str, timeout: float | None = None
    ) -> list[list[Any]] | None:
        """Return where each board of a machine is, or None if there is no such machine.

        Each is [x, y, z, cabinet, frame, board, address].
        """
        places: list[list[Any]] | None = self.call("list_places", machine_name, timeout=timeout)
        return places

    def list_job_times(self, timeout: float | None = None) -> list[dict[str, Any]]:
        """Return when jobs got their boards (``allocated``), and when these were first ``ready``.

        Both are Unix times; None where it has not been, or is not known.
        """
        times: list[dict[str, Any]] = self.call("list_job_times", timeout=timeout)
        return times

    def list_queue(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the outlook of each waiting job (``jobs``), and when that was ``made``."""
        queue_: dict[str, Any] = self.call("list_queue", timeout=timeout)
        return queue_

    def get_job_outlook(
        self, job_id: int, timeout: float | None = None
    ) -> dict[str, Any] | None:
        """Return a waiting job's place in line, reasons and expectation; None for others."""
        outlook: dict[str, Any] | None = self.call("get_job_outlook", job_id, timeout=timeout)
        return outlook

    def report_problem(
        self,
        job_id: int,
        board: str | tuple[int, int, int],
        text: str,
        timeout: float | None = None,
    ) -> str:
        """Tell the operators of trouble with a board; returns the use made of the report.

        Parameters
        ----------
        job_id : int
            A job that is or was ready on the board.
        board : str or (x, y, z)
            The board's host name or address, or its place on the job's machine.
        text : str
            The trouble, in at most 1,024 characters.
        timeout : float, optional
            Seconds to wait.
        """
        return str(self.call("report_problem", job_id, board, text, timeout=timeout))

    def list_ended_jobs(
        self, limit: int, before: int | None = None, timeout: float | None = None
    ) -> list[dict[str, Any]]:
        """Return at most `limit` (1,000) jobs that have ended, newest first."""
        jobs: list[dict[str, Any]] = self.call("list_ended_jobs", limit, before, timeout=timeout)
        return jobs

    def list_events(
        self, after: int, limit: int, timeout: float | None = None
    ) -> dict[str, Any]:
        """Return at most `limit` (1,000) events with numbers above `after`.

        The object has the members events, next (the number to go on after) and lost.
        """
        events: dict[str, Any] = self.call("list_events", after, limit, timeout=timeout)
        return events

    def notify_events(self, timeout: float | None = None) -> None:
        """Ask for notifications of new events: ``{"events_until": number}``."""
        self.call("notify_events", timeout=timeout)

    def no_notify_events(self, timeout: float | None = None) -> None:
        """Stop notifications of new events."""
        self.call("no_notify_events", timeout=timeout)

    def get_takeover_code(self, job_id: int, timeout: float | None = None) -> str | None:
        """Return a code by which somebody else may take our job over; None if unknown."""
        code: str | None = self.call("get_takeover_code", job_id, timeout=timeout)
        return code

    def take_over_job(self, job_id: int, code: str, timeout: float | None = None) -> bool:
        """Make a job ours by its code; False if there is no such job."""
        return bool(self.call("take_over_job", job_id, code, timeout=timeout))

    def operate(
        self, order: dict[str, Any], reason: str | None = None, timeout: float | None = None
    ) -> Any:
        """Give an operator's order, such as ``{"do": "jobs"}``; needs the right to do so."""
        return self.call("operate", order, reason, timeout=timeout)
