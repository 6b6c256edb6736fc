"""spalloc: ask for boards, hold them or run a command with them, and give them back."""

import argparse
import csv
import getpass
import logging
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spalloc_client._answers import Board, JobMachine, read_jobs, read_machine_info, read_machines
from spalloc_client._outlook import brief_text, why_text
from spalloc_client._program import CommandError, end_interrupted_line, note, run
from spalloc_client._queue import ask_outlook, describe_misfits, describe_queue
from spalloc_client._request import Request, check_numbers
from spalloc_client._session import Changes, Session
from spalloc_client._settings import Settings
from spalloc_client._tables import facts
from spalloc_client._terminal import make_console, show
from spalloc_client.errors import (
    JobDestroyedError,
    ProtocolError,
    ProtocolTimeoutError,
    ServerLostError,
    SpallocServerException,
)
from spalloc_client.job import NO_MACHINE, Job
from spalloc_client.scripts._command import (
    Parser,
    no_such_machine,
    number,
    positive,
    ratio,
    session_with,
    settings_for,
    whole,
)
from spalloc_client.scripts._hold import Guard, fill_in, hold, run_command
from spalloc_client.scripts._progress import Progress
from spalloc_client.states import JobState

#: The environment variable that may hold the code for taking a job over.
_CODE_VARIABLE = "SPALLOC_CODE"

#: The status after --max-wait: as in sysexits.h, "temporary failure, try again later".
_GAVE_UP = 75

#: Seconds after which a server's reasons, which change without notice, are asked for
#: again.  # arbitrary
_REFRESH = 10.0

#: The shortest time between two looks at the queue, seconds.  # arbitrary
_PAUSE = 0.1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run("spalloc", _main, argv)


# --- arguments ---


def _parser() -> Parser:
    parser = Parser(
        "spalloc",
        "Ask for SpiNNaker boards, hold them until Enter or Ctrl-C, and give them back.",
        "In the command, {} or {hostname} stand for the name of the board with chip (0, 0), "
        "{w} or {width} and {h} or {height} for the size in chips, {id} for the job, "
        "{ethernet_ips} for the name of a CSV file with the columns x, y, hostname.",
    )
    parser.add_argument(
        "what",
        nargs="*",
        type=whole,
        metavar="WHAT",
        help="nothing or 1: a board; N: so many boards; W H: a block of W x H triads; "
        "X Y Z: the board there",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="say nothing but errors")
    parser.add_argument(
        "--debug", action="store_true", help="show the lines that are sent and received"
    )
    parser.add_argument(
        "--no-destroy", "-D", action="store_true", help="leave the job to itself at the end"
    )
    parser.add_argument(
        "--max-wait",
        type=number,
        metavar="SECONDS",
        help="give up, with exit status 75, if the job is still queued after so long",
    )
    _add_resuming(parser)
    parser.add_argument(
        "--command",
        "-c",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="hold the boards while this runs (the rest of the line, or one shell line in "
        "quotes) and exit with its status",
    )
    _add_limits(parser)
    server = parser.add_server_arguments()
    server.add_argument("--owner", metavar="O", help="by convention, your e-mail address")
    server.add_argument(
        "--keepalive",
        type=_minus_one_or(positive),
        metavar="SECONDS",
        help="the server destroys the job after so long without a sign of life; -1: never",
    )
    server.add_argument(
        "--reconnect-delay",
        type=number,
        metavar="SECONDS",
        help="time between attempts to reach a lost server",
    )
    return parser


def _add_resuming(parser: Parser) -> None:
    parser.add_argument(
        "--resume", "-r", type=whole, metavar="ID", help="take over a job instead of a new one"
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="with --resume: make the job ours by its code, which is taken from --code-file, the "
        "variable SPALLOC_CODE, or asked for",
    )
    parser.add_argument(
        "--code-file", metavar="FILE", help="with --resume: take it over by the code in this file"
    )


def _add_limits(parser: Parser) -> None:
    limits = parser.add_argument_group("which boards")
    limits.add_argument(
        "--machine", "-m", nargs="?", const=_ANY, metavar="NAME", help="of this machine; any"
    )
    limits.add_argument(
        "--tags",
        "-t",
        nargs="*",
        metavar="TAG",
        help="of a machine with all of these tags; -- ends them",
    )
    limits.add_argument(
        "--min-ratio",
        type=ratio,
        metavar="RATIO",
        help="least short side / long side, from 0 to 1",
    )
    limits.add_argument(
        "--max-dead-boards", type=_minus_one_or(_count), metavar="N", help="-1: any number"
    )
    limits.add_argument(
        "--max-dead-links", type=_minus_one_or(_count), metavar="N", help="-1: any number"
    )
    torus = limits.add_mutually_exclusive_group()
    torus.add_argument(
        "--require-torus", "-w", action="store_true", default=None, help="with wrap-around links"
    )
    torus.add_argument(
        "--no-require-torus",
        "-W",
        action="store_false",
        dest="require_torus",
        default=None,
        help="with or without",
    )


class _Minus:
    """Stands for "-1", which means none, where no argument at all is None."""


_MINUS = _Minus()

#: --command as it may be written, also shortened, or at the end of a row of flags.
_COMMAND = re.compile(r"--c(o(m(m(a(n(d)?)?)?)?)?)?|-[qDwW]*c")

#: ``--machine`` without a name: any, even if the configuration names one.
_ANY = ""


def _count(text: str) -> int:
    value = whole(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0, or -1")
    return value


def _minus_one_or(read: Any) -> Any:
    def reader(text: str) -> Any:
        return _MINUS if text in {"-1", "-1.0"} else read(text)

    return reader


def _split(argv: Sequence[str]) -> tuple[Sequence[str], list[str] | None]:
    """Return our own words, and those of the command: all that comes after --command.

    argparse's REMAINDER would end at a ``--``.
    """
    for place, word in enumerate(argv):
        if word == "--":
            break
        if _COMMAND.fullmatch(word):
            return argv[: place + 1], list(argv[place + 1 :])
    return argv, None


def _read_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Settings]:
    options, command = _split(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(options)
    if command is not None:
        arguments.command = command
    try:
        arguments.what = check_numbers(arguments.what)
    except ValueError as exc:
        raise CommandError(f"WHAT: {exc}", status=2) from None
    if arguments.command is not None and not arguments.command:
        raise CommandError("--command: which?", status=2)
    if arguments.resume is None and (arguments.take_over or arguments.code_file):
        raise CommandError("--take-over and --code-file go with --resume only", status=2)
    settings = settings_for(arguments)
    if arguments.machine and arguments.tags is not None:
        raise CommandError("only one of --machine and --tags may be given", status=2)
    # Options overrule the files, where one excludes the other too.
    if arguments.machine is not None:
        settings = settings._replace(machine=arguments.machine or None)
        settings = settings._replace(tags=None if arguments.machine else settings.tags)
    if arguments.tags is not None:
        settings = settings._replace(tags=arguments.tags, machine=None)
    for name in (
        "min_ratio",
        "max_dead_boards",
        "max_dead_links",
        "require_torus",
        "keepalive",
        "reconnect_delay",
    ):
        value: Any = getattr(arguments, name)
        if value is not None:
            change: dict[str, Any] = {name: None if value is _MINUS else value}
            settings = settings._replace(**change)
    if settings.owner is None and arguments.resume is None:
        raise CommandError("no owner: give --owner, or write it into a configuration file")
    return arguments, settings


# --- the life of the job ---


def _main(argv: Sequence[str] | None) -> int:
    arguments, settings = _read_arguments(argv)
    with (
        _debugging(arguments.debug),
        Progress(arguments.quiet) as progress,
        session_with(settings) as session,
        _job(arguments, settings, progress) as job,
    ):
        if (message := session.facility().message) is not None:
            progress.say(f"Message of the operators: {message}")
        try:
            _wait_until_ready(job, session, progress, arguments.max_wait)
        except JobDestroyedError as exc:
            progress.clear()
            if arguments.resume is None and str(exc).startswith(NO_MACHINE):
                _explain(settings.request(arguments.what), session)
            # Words of ours name the job, the server's reasons do not.
            reason = f"job {job.id} was destroyed: {exc.reason}"
            raise CommandError(str(exc) if exc.reason is None else reason) from None
        session.close()  # other jobs are of no interest any more
        with session_with(settings) as guarding, Guard(job, guarding, progress) as guard:
            info = read_machine_info(guarding.call("get_job_machine_info", job.id))
            if info.connections is None:
                guard.look()  # lost since; says why if it is over
                raise CommandError(f"job {job.id} lost its boards as soon as it had them")
            return _use(job, info, guard, arguments, progress)


@contextmanager
def _debugging(wanted: bool) -> Iterator[None]:
    """Tell the acts of the library on standard error."""
    logger = logging.getLogger("spalloc_client")
    handler = logging.StreamHandler(sys.stderr) if wanted else logging.NullHandler()
    form = f"%(asctime)s.%(msecs)03d {time.strftime('%Z')} %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(form, "%Y-%m-%d %H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    if wanted:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _TracedJob(Job):
    """A job that can be found from the moment it may exist.

    A signal may strike when the constructor has returned and its result has not been
    stored anywhere yet.
    """

    def __init__(self, traces: "list[_TracedJob]", *what: int, **kwargs: Any) -> None:
        traces.append(self)
        super().__init__(*what, **kwargs)


@contextmanager
def _job(
    arguments: argparse.Namespace, settings: Settings, progress: Progress
) -> Iterator[Job]:
    traces: list[_TracedJob] = []
    try:
        what = () if arguments.resume is not None else arguments.what
        kwargs = settings._asdict()
        try:
            if arguments.resume is not None:
                kwargs |= {"resume_job_id": arguments.resume, "takeover_code": _code(arguments)}
            job = _TracedJob(traces, *what, config_filenames=[], **kwargs)
        except JobDestroyedError as exc:
            name = f"job {arguments.resume}"
            text = str(exc)  # the server's reason, or words of ours that name the job
            raise CommandError(text if name in text else f"{name} was destroyed: {text}") from None
        except ProtocolError:
            raise
        except ValueError as exc:
            raise CommandError(str(exc), status=2) from None
        yield job
    finally:
        for job in traces:
            _leave(job, arguments.no_destroy, progress)


def _code(arguments: argparse.Namespace) -> str | None:
    """Find the code for taking a job over; None if the job is only to be resumed."""
    if arguments.code_file is not None:
        try:
            code = Path(arguments.code_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as exc:
            raise CommandError(f"--code-file {arguments.code_file}: {exc}") from None
    else:
        code = os.environ.get(_CODE_VARIABLE, "").strip()
        if not code and not arguments.take_over:
            return None
        if not code:
            if sys.stdin is None or not sys.stdin.isatty():
                raise CommandError(
                    f"no code: give --code-file or set {_CODE_VARIABLE}; only on a terminal it is "
                    "asked for"
                )
            code = getpass.getpass(f"Code of job {arguments.resume}: ").strip()
    if not code:
        raise CommandError("the code is empty")
    return code


def _leave(job: Job, alone: bool, progress: Progress) -> None:
    """Give the boards back, or let go of the job, in any case."""
    if not job.alive:
        return
    progress.clear()
    if alone:
        job.close()
        limit = "" if job.keepalive is None else f" within {job.keepalive:g} s"
        progress.say(f"Job {job.id} is left to itself; take it over{limit}: spalloc -r {job.id}")
        return
    try:
        job.destroy()
    except JobDestroyedError as exc:
        note(f"spalloc: {exc}")
    except (ProtocolError, SpallocServerException) as exc:
        when = "it has no keepalive period, so it stays"
        if job.keepalive is not None:
            when = f"the server will destroy it within {job.keepalive:g} s"
        note(f"spalloc: job {job.id} could not be destroyed ({exc}); {when}")


def _explain(request: Request, session: Session) -> None:
    """Say why no machine suits: which limit excluded which."""
    machines = read_machines(session.call("list_machines"))
    names = [machine.name for machine in machines]
    if request.machine is not None and request.machine not in names:
        raise no_such_machine(request.machine, names)
    note("No machine suits:")
    for line in describe_misfits(request, machines, session.facility().scheduling):
        note(f"  {line}")


def _wait_until_ready(
    job: Job, session: Session, progress: Progress, max_wait: float | None
) -> None:
    """Wait, and tell the reason.

    Raises
    ------
    JobDestroyedError
        If the job is over.
    CommandError
        If it has no boards after `max_wait` seconds (None: any number).
    """
    end = time.monotonic() + (math.inf if max_wait is None else max_wait)
    changes = Changes()
    tries = _Tries()
    session.subscribe("notify_job")  # of all jobs: those ahead of us matter
    state = JobState.queued
    with session.listen(changes):
        while True:
            try:
                session.connect()  # before looking, so that nothing after it is missed
                seen = state = job.state
                if state in {JobState.ready, JobState.destroyed, JobState.unknown}:
                    job.wait_until_ready()  # knows the words for the others
                    return
                detail = _detail(job, state, session, tries)
                progress.waiting(job.id, state, detail)
                pause = _PAUSE
            except (ServerLostError, ProtocolTimeoutError) as exc:
                detail = str(exc)
                progress.waiting(job.id, JobState.unknown, f"{detail}; trying again")
                seen, pause = JobState.unknown, session.reconnect_delay or _PAUSE
                changes.tell()
            left = end - time.monotonic() if state is JobState.queued else math.inf
            if left <= 0:
                raise CommandError(
                    f"job {job.id} is still queued after {max_wait:g} s: {detail}", _GAVE_UP
                )
            refresh = _REFRESH if session.offers("get_job_outlook") else math.inf
            if changes.wait(min(left, refresh)):
                # Several changes are told as one, and a lost server is given some time.
                job.wait_for_state_change(seen, min(pause, left))


class _Tries:
    """Counts the places that a job has had, and remembers why it lost the last."""

    def __init__(self) -> None:
        self._number = 1
        self._fault = ""
        self._boards: list[Board] | None = None
        self._moving = False

    def see(self, boards: list[Board] | None, why: str) -> None:
        """Take in the job's boards, and why it waits."""
        lost = self._boards is not None and boards != self._boards
        if lost:
            self._fault = why
        if boards is not None and (lost or self._moving):
            self._number += 1
        self._moving = boards is None and (lost or self._moving)
        self._boards = boards

    def __str__(self) -> str:
        """Tell which try it is, if not the first, and the fault of the one before."""
        if self._moving:
            return f"; its boards failed in try {self._number}"
        if self._number == 1:
            return ""
        return f", try {self._number}" + (f" (before: {self._fault})" if self._fault else "")


def _detail(job: Job, state: JobState, session: Session, tries: _Tries) -> str:
    outlook = ask_outlook(session, job.id)
    jobs = read_jobs(session.call("list_jobs"))
    row = next((row for row in jobs if row.job_id == job.id), None)
    if row is None:
        return "..."
    tries.see(row.boards, "" if outlook is None else why_text(outlook))
    if outlook is not None:
        return brief_text(outlook)
    if state is JobState.queued:
        machines = read_machines(session.call("list_machines"))
        return f"{describe_queue(row, machines, jobs)}{tries}"
    number = len(row.boards or ())
    return f"powering {number} board{'s' * (number != 1)} of {row.machine}{tries}"


def _use(
    job: Job,
    info: JobMachine,
    guard: Guard,
    arguments: argparse.Namespace,
    progress: Progress,
) -> int:
    progress.clear()
    if arguments.command is None:
        try:
            _hold(job, info, guard, arguments, progress)
        except KeyboardInterrupt:
            end_interrupted_line()
        return 0
    with _ethernet_ips(info) as filename:
        width, height, hostname = str(info.width), str(info.height), _hostname(info)
        values = {"": hostname, "hostname": hostname, "w": width, "width": width, "h": height}
        values |= {"height": height, "ethernet_ips": filename, "id": str(job.id)}
        return run_command(fill_in(arguments.command, values), guard, progress)


def _hold(
    job: Job,
    info: JobMachine,
    guard: Guard,
    arguments: argparse.Namespace,
    progress: Progress,
) -> None:
    if not arguments.quiet:
        _print_result(job, info)
    if sys.stdin is not None and sys.stdin.isatty():
        after = "leave" if arguments.no_destroy else "destroy"
        progress.say(f"Enter or Ctrl-C to {after} the job")
    hold(guard)


def _hostname(info: JobMachine) -> str:
    return (info.connections or {}).get((0, 0), "")


def _print_result(job: Job, info: JobMachine) -> None:
    rows = [
        ("Job", str(job.id)),
        ("Hostname", _hostname(info)),
        ("Width", f"{info.width} chips"),
        ("Height", f"{info.height} chips"),
        ("Boards", str(len(info.boards or ()))),
        ("Machine", info.machine_name or ""),
    ]
    show(make_console(), facts(rows))


@contextmanager
def _ethernet_ips(info: JobMachine) -> Iterator[str]:
    """Give the name of a file that lists the boards' host names."""
    with tempfile.TemporaryDirectory(prefix="spalloc-") as folder:
        path = Path(folder, "ethernet_ips.csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["x", "y", "hostname"])
            for (x, y), hostname in sorted((info.connections or {}).items()):
                writer.writerow([x, y, hostname])
        yield str(path)


if __name__ == "__main__":
    sys.exit(main())
