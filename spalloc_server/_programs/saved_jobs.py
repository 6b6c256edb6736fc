"""``spalloc_server --diff CONFIG``: which saved jobs a reload would end, or shut out.

Reads the saved state as a starting server would, changes no file, and needs no
lock, so that a server may be running on it.  The rules of the reload itself decide which
jobs end.
"""

from __future__ import annotations

import contextlib
import json
import pwd
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from spalloc_server._access.identity import host_principal, identity_of, parse_address
from spalloc_server._access.policy import AccessClass, Policy
from spalloc_server._checks.values import escaped
from spalloc_server._configuration_file import read_configuration_text, run_configuration
from spalloc_server._jobs import book as _book
from spalloc_server._jobs.job_request import JobRequest
from spalloc_server._jobs.plain_machine import from_plain
from spalloc_server._programs.check import EndedJob, Saved, SavedJob, diff
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.recovery import Recovered, recover
from spalloc_server._saved.saved_file import Names
from spalloc_server._version import __version__
from spalloc_server.configuration import Configuration
from spalloc_server.job_queue import JobQueue

#: A running server may begin a new generation between the reading of two files.
_TRIES = 5


class Difference(NamedTuple):
    """The effect of a reload on jobs: their number, and those that would end.

    `notes` tell more of the saved state.
    """

    jobs: int
    ended: list[EndedJob]
    notes: list[str]


def difference(config: str, state_dir: str | None = None, label: str = "") -> Difference:
    """Compare a configuration file with the state saved for it.

    Parameters
    ----------
    config : str
        The file's name.
    state_dir : str or None
        Where the state is; None is beside the file.
    label : str
        As given to the `Store`.

    Raises
    ------
    ConfigurationError
        If the file cannot be loaded.
    StoreError
        If the state is not to be trusted or of a newer format.
    """
    configuration, settings = run_configuration(read_configuration_text(config), config)
    path = Path(config).absolute()
    directory = path.parent if state_dir is None else Path(state_dir)
    found = _saved(Names(directory, path.name, label))
    book = found.state
    if book is None:
        nothing = f"{directory} has no state of {path.name}"
        hint = "expected one, unless no server has run there; see --state-dir"
        return Difference(0, [], found.notes or [f"{nothing}: {hint}"])
    machines = [from_plain(plain) for plain in book["machines"].values()]
    ended = diff(Saved(_jobs(book), machines), configuration)
    ended += _never_to_run(book, configuration)
    ended.sort(key=lambda job: job.job_id)
    notes = [*found.notes, *_shut_out(book, settings.policy)]
    return Difference(len(book["jobs"]), ended, notes)


def report(config: str, told: Difference, as_json: bool) -> str:
    """Write a difference for people or for programs."""
    if as_json:
        rows = [job._asdict() for job in told.ended]
        whole = {"file": config, "jobs": told.jobs, "ended": rows, "notes": told.notes}
        return json.dumps(whole, indent=2)
    lines = [*told.notes]
    for job in told.ended:
        where = f"machine {job.machine}" if job.machine else "queued"
        lines.append(f"ends: job {job.job_id} of {job.owner} ({where}): {job.reason}")
    jobs = f"{told.jobs} saved job{'' if told.jobs == 1 else 's'}"
    lines.append(f"{config}: a reload would end {len(told.ended)} of {jobs}")
    return "\n".join(lines)


def failure(config: str, error: str) -> str:
    """Write for programs why there is no difference to tell."""
    return json.dumps({"file": config, "error": error}, indent=2)


def _saved(names: Names) -> Recovered:
    disk = Disk()
    for _ in range(_TRIES):
        found = recover(names, __version__, _book, disk)
        if not found.unusable:
            break
    return found


def _jobs(book: _book.Book) -> list[SavedJob]:
    return [
        SavedJob(
            job_id,
            record["owner"],
            None if record["allocation"] is None else record["allocation"]["machine"],
        )
        for job_id, record in book["jobs"].items()
    ]


def _never_to_run(book: _book.Book, configuration: Configuration) -> list[EndedJob]:
    """Queued jobs that none of the configuration's machines could ever run."""
    queue = JobQueue(_ignore, _ignore, _ignore)
    with queue:
        for machine in configuration.machines:
            queue.add_machine(
                machine.name,
                machine.width,
                machine.height,
                tags=set(machine.tags),
                dead_boards=machine.dead_boards,
                dead_links=machine.dead_links,
            )
    ended = []
    for job_id, record in book["jobs"].items():
        if record["allocation"] is None:
            request = JobRequest.parse(tuple(record["args"]), dict(record["kwargs"]))
            queue.restore_job(job_id, request.boards, machine=request.machine, tags=request.tags)
            if not queue.machines_for(job_id):
                reason = "no machine could ever run it"
                ended.append(EndedJob(job_id, record["owner"], "", reason))
    return ended


def _shut_out(book: _book.Book, policy: Policy) -> Iterator[str]:
    """Tell of principals of saved jobs that could not use the server any more."""
    jobs: dict[str, list[int]] = defaultdict(list)
    for job_id, record in sorted(book["jobs"].items()):
        principal = record["principal"] or host_principal(parse_address(record["host"]))
        jobs[principal].append(job_id)
    for principal, ids in jobs.items():
        identity = identity_of(principal)
        if identity.uid is not None:
            with contextlib.suppress(KeyError):
                identity = identity._replace(unix_user=pwd.getpwuid(identity.uid).pw_name)
        access, rule = policy.judge(identity)
        if access in (AccessClass.use, AccessClass.operate):
            continue
        by = "no rule admits it" if rule is None else f"access rule {rule}"
        named = identity.certificate or identity.user
        unless = " by its name" if named else ""
        which = f"job{'s' * (len(ids) > 1)} {', '.join(map(str, ids))}"
        could = "is denied" if access is AccessClass.deny else "could only read"
        yield f"shut out: {escaped(principal)} {could}{unless} ({by}): {which}"


def _ignore(*_: object) -> None:
    """Stand in for a controller: nothing is allocated here."""
