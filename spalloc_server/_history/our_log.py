"""The lines of this server's job log, of 1.0 and later."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from spalloc_server._history.logged_jobs import LoggedJobs

_JOB = re.compile(r"job (\d+): (.*)", re.DOTALL)
_CREATED = re.compile(
    r"created \((?P<args>.*?)\) owner=(?P<owner>.*) keepalive=(?P<keepalive>None|[\d.e+-]+)"
    r" host=(?P<host>\S+)"
)
_POWER_ON = re.compile(r"power on: (boards?) (?P<boards>.*?)(?: of (?P<machine>.+) \(cabinet .*)?")
_BOARD = re.compile(r"\((\d+), (\d+), (\d+)\)")
_MOVED = re.compile(r"back in the queue, move \d+ of \d+: (.*)", re.DOTALL)
_ENDED = re.compile(
    r"destroyed: (?P<reason>.*?)(?: \(by (?P<by>[a-z]+)(?: (?P<host>[^ )]+))?\))?", re.DOTALL
)
_OTHER = re.compile(r"power off: |links o(n|ff): |waits for ")
#: Lines that are about no job.
_OF_THE_SERVER = ("server shut down", "names that are past their day are forgotten")
#: The words of the log for a job that was ended without a reason.
_NO_REASON = ("None", "no reason given")


class OurLog:
    """Reads records of this server's log."""

    def __init__(self, jobs: LoggedJobs) -> None:
        self._jobs = jobs

    def read(self, when: float, text: str) -> Iterator[dict[str, Any]] | None:
        """Return the events of a record; None if it is not understood."""
        found = _JOB.fullmatch(text)
        if found is None:
            return iter(()) if text in _OF_THE_SERVER else None
        return self._of_job(when, int(found[1]), found[2])

    def _of_job(self, when: float, job: int, rest: str) -> Iterator[dict[str, Any]] | None:
        jobs = self._jobs
        events: Iterator[dict[str, Any]] | None = None
        if rest == "ready":
            events = jobs.ready(when, job)
        elif created := _CREATED.fullmatch(rest):
            about = _about(created)
            events = None if about is None else jobs.created(when, job, about)
        elif power := _POWER_ON.fullmatch(rest):
            boards = [(int(x), int(y), int(z)) for x, y, z in _BOARD.findall(power["boards"])]
            events = jobs.powered(when, job, power["machine"], boards)
        elif moved := _MOVED.fullmatch(rest):
            events = jobs.moved(when, job, moved[1])
        elif ended := _ENDED.fullmatch(rest):
            reason = None if ended["reason"] in _NO_REASON else ended["reason"]
            events = jobs.ended(when, job, reason, ended["by"], ended["host"])
        elif _OTHER.match(rest):
            events = iter(())
        return events


def _about(created: re.Match[str]) -> dict[str, Any] | None:
    try:
        call = ast.parse(f"f({created['args']})", mode="eval").body
        assert isinstance(call, ast.Call)
        args = [ast.literal_eval(value) for value in call.args]
        kwargs = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        keepalive = ast.literal_eval(created["keepalive"])
    except (ValueError, SyntaxError):
        return None
    host = created["host"]
    return {
        "owner": created["owner"],
        "host": None if host == "None" else host,
        "keepalive": keepalive,
        "args": args,
        "kwargs": plain_keywords(kwargs),
    }


def plain_keywords(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return keywords as the protocol has them: tags as a list, nothing that is null."""
    return {
        name: sorted(value, key=str) if isinstance(value, set) else value
        for name, value in kwargs.items()
        if value is not None
    }
