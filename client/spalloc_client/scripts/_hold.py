"""Holding boards: until Enter, or while a command runs.

Meanwhile it looks after the job, to say at once when it is lost.
"""

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from spalloc_client._board_states import reasons
from spalloc_client._extensions import read_boards
from spalloc_client._program import CommandError, Terminated, shield
from spalloc_client._session import Session
from spalloc_client._watch import Bell
from spalloc_client.errors import ProtocolTimeoutError, ServerLostError, SpallocError
from spalloc_client.job import Job
from spalloc_client.scripts._progress import Progress
from spalloc_client.states import JobState

#: How long a command gets to end by itself after Ctrl-C, and after SIGTERM, seconds.  # arbitrary
_PATIENCE_AFTER_INTERRUPT = 10.0
_PATIENCE_AFTER_TERMINATE = 5.0

#: Seconds between looks at the state of our boards, of which nobody notifies us.  # arbitrary
_ROUND = 60.0

#: Statuses that shells give to commands that cannot be run.
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class Guard:
    """Follows a job that is ready, and tells its changes."""

    def __init__(self, job: Job, session: Session, progress: Progress) -> None:
        self._job = job
        self._session = session
        self._progress = progress
        self._state = JobState.ready
        self.lost = False  # is the server? Then nobody would ring the bell
        self._told: set[str] = set()
        self._stack = ExitStack()
        self.bell = Bell()
        session.subscribe("notify_job", job.id)

    def __enter__(self) -> "Guard":
        self._stack.callback(self.bell.close)
        self._stack.enter_context(self._session.listen(self.bell))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def look(self) -> float | None:
        """Look at the job; returns the seconds to the next look, unless the bell rings before.

        Raises
        ------
        CommandError
            If the job is no more.
        """
        self.bell.hush()
        try:
            self._session.connect()  # or nobody would ring
            state = self._job.state
            trouble = self._trouble()
        except (ServerLostError, ProtocolTimeoutError) as exc:
            if not self.lost:
                self._progress.say(f"{exc}; trying again")
            self.lost = True
            return max(self._session.reconnect_delay, 0.1)
        if self.lost:
            self._progress.say("the server is back")
            self.lost = False
        self._tell(state)
        for line in trouble:
            if line not in self._told:
                self._progress.say(line)
        self._told = set(trouble)
        return _ROUND if self._session.offers("list_boards") else None

    def _trouble(self) -> list[str]:
        """Ask for the server's remarks on our boards: frames that fall silent, say."""
        if not self._session.offers("list_boards"):
            return []
        machine = self._job.machine_name
        rows = read_boards(self._session.call("list_boards", machine)) if machine else None
        return reasons([row for row in rows or [] if row.job_id == self._job.id])

    def _tell(self, state: JobState) -> None:
        before, self._state = self._state, state
        job_id = self._job.id
        if state is JobState.destroyed:
            reason = self._job.reason or "no reason given"
            raise CommandError(f"job {job_id} was destroyed: {reason}")
        if state is JobState.unknown:
            gone = self._job.reason or f"the server does not know job {job_id} any more"
            raise CommandError(gone)
        if state is before:
            return
        self._progress.say(
            {
                JobState.queued: f"Job {job_id} lost its boards and is queued again",
                JobState.power: f"Job {job_id}: its boards are being switched",
                JobState.ready: f"Job {job_id} is ready again",
            }[state]
        )


def hold(guard: Guard) -> None:
    """Return when Enter is pressed, or standard input ends."""
    if sys.stdin is None:  # closed by the program that started us
        return
    keyboard = sys.stdin.fileno()
    while True:
        delay = guard.look()
        files: list[Any] = [keyboard] if guard.lost else [keyboard, guard.bell]
        if keyboard in select.select(files, [], [], delay)[0]:
            if not _in_background():
                os.read(keyboard, 4096)
                return
            time.sleep(0.5)  # keys are not meant for us


def _on_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _in_background() -> bool:
    return _on_terminal() and os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp()


# --- commands ---

_PLACEHOLDER = re.compile(r"\{(hostname|w|width|h|height|ethernet_ips|id|)\}")


def fill_in(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Replace ``{name}`` in a command; other braces are left alone.

    Parameters
    ----------
    command
        Separate words; or one, which is a line for the shell if it has more than a
        name in it.
    values
        By name.

    Returns
    -------
    list of str
        The command to execute.
    """
    if len(command) > 1:
        return [_PLACEHOLDER.sub(lambda m: values[m[1]], part) for part in command]
    # The shell must not find anything in a value but its letters.
    line = _PLACEHOLDER.sub(lambda match: shlex.quote(values[match[1]]), command[0])
    return ["/bin/sh", "-c", line]


def run_command(command: Sequence[str], guard: Guard, progress: Progress) -> int:
    """Run a command and return its exit status, as a shell would tell it."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with shield():  # or it might run without anybody knowing of it
            process = _start(command)
        _wait(process, guard, progress)
    except KeyboardInterrupt:
        if process is None:
            raise
        _interrupt(process)
    except Terminated:
        if process is None:
            raise
        _terminate(process)
    assert process is not None
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command)
    except FileNotFoundError as exc:
        raise CommandError(f"{exc.filename}: no such command", _NOT_FOUND) from None
    except OSError as exc:
        raise CommandError(f"{command[0]}: {exc.strerror}", _NOT_EXECUTABLE) from None


def _wait(process: "subprocess.Popen[bytes]", guard: Guard, progress: Progress) -> None:
    ended = os.pidfd_open(process.pid)
    try:
        alive = True
        while process.poll() is None:
            delay = None
            if alive:
                try:
                    delay = guard.look()
                except (CommandError, SpallocError) as exc:
                    progress.say(f"{exc}; the command goes on without boards", True)
                    alive = False
            files: list[Any] = [ended, guard.bell] if alive and not guard.lost else [ended]
            select.select(files, [], [], delay)
    finally:
        os.close(ended)


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """After Ctrl-C: the command heard it too, if it came from the terminal."""
    if not _on_terminal() or _in_background():
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE_AFTER_INTERRUPT)
    except subprocess.TimeoutExpired:
        _terminate(process)


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_AFTER_TERMINATE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
