"""``spalloc_server --check CONFIG``: a configuration in words, before it is used.

Owns the report on a configuration file, and which jobs a reload of it would end. Must
not know a running server, nor touch hardware or saved state: saved jobs are handed in.
An error is a fault for which a server refuses the file; all else is a warning.
"""

import ast
import ipaddress
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from json import dumps
from typing import NamedTuple

from spalloc_server._access.policy import Policy
from spalloc_server._checks.faults import configuration_faults, listed
from spalloc_server._configuration_file import (
    ConfigurationError,
    read_configuration_text,
    run_configuration,
)
from spalloc_server._jobs.machine_change import MachineChange
from spalloc_server._programs.machine_findings import (
    Finding,
    dead_cables,
    live_boards,
    machine_findings,
)
from spalloc_server.configuration import Configuration, Machine

__all__ = (
    "EndedJob",
    "Finding",
    "Saved",
    "SavedJob",
    "access_findings",
    "check_main",
    "diff",
    "findings",
    "report_json",
    "report_text",
    "resolves",
    "summaries",
)

#: Address of a host name, None if it has none.
Resolve = Callable[[str], str | None]

#: Names looked up at a time; one that is not answered takes seconds. # arbitrary
_LOOKUPS = 16
#: The port of the command line unless told otherwise.
_STANDARD_PORT = 22244


class FrameSummary(NamedTuple):
    """One frame: where it is, its BMP, and how many boards it holds."""

    cabinet: int
    frame: int
    bmp: str
    boards: int


class MachineSummary(NamedTuple):
    """One machine of a configuration in short; boards are (x, y, z)."""

    name: str
    tags: list[str]
    width: int
    height: int
    boards: int
    dead_boards: list[tuple[int, int, int]]
    dead_links: int
    frames: list[FrameSummary]
    addresses: list[str]


class SavedJob(NamedTuple):
    """A job as it was saved; `machine` is the one that it has boards of, or None."""

    job_id: int
    owner: str | None
    machine: str | None


class Saved(NamedTuple):
    """The jobs and machines of a saved state."""

    jobs: list[SavedJob]
    machines: list[Machine]


class EndedJob(NamedTuple):
    """A job that a reload would end, and why."""

    job_id: int
    owner: str | None
    machine: str
    reason: str


def check_main(config: str, json: bool) -> int:
    """Report on a configuration file, on standard output.

    Parameters
    ----------
    config : str
        Its name.
    json : bool
        Whether a program is to read it.

    Returns
    -------
    int
        Exit status: 1 if there are errors, 0 otherwise.
    """
    machines: list[MachineSummary] = []
    try:
        text = read_configuration_text(config)
        configuration, settings = run_configuration(text, config)
    except ConfigurationError as exc:
        found = [Finding("error", None, str(exc))]
    else:
        machines = summaries(configuration)
        found = [
            *findings(configuration),
            *repeated_entries(text),
            *access_findings(settings.policy),
        ]
    report = report_json if json else report_text
    print(report(config, machines, found))
    return 1 if any(finding.severity == "error" for finding in found) else 0


def resolves(host: str) -> str | None:
    """IPv4 address of a host, as the server would find it; None if there is none."""
    if re.fullmatch(r"[0-9.]+", host):
        # Resolvers take 10.1 for 10.0.0.1, and ask the world about 10.0.0.256.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            return None
    try:
        answers = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    return str(answers[0][4][0])


def findings(configuration: Configuration, resolve: Resolve = resolves) -> list[Finding]:
    """All that is wrong or odd about a configuration that can be loaded.

    Parameters
    ----------
    configuration : Configuration
    resolve : callable
        Address of a host name, or None; called from several threads.

    Returns
    -------
    list of Finding
        Errors first, otherwise in order of the machines.
    """
    found = [*_general(configuration)]
    found += [Finding("error", *fault) for fault in configuration_faults(configuration)]
    for machine in configuration.machines:
        found += machine_findings(machine)
    found += _addresses(configuration, resolve)
    return sorted(found, key=lambda finding: finding.severity != "error")


def summaries(configuration: Configuration) -> list[MachineSummary]:
    """Sum up each machine of a configuration, highest priority first."""
    return [_summary(machine) for machine in configuration.machines]


def repeated_entries(text: str) -> list[Finding]:
    """Entries written twice, of which Python keeps one without a word.

    Parameters
    ----------
    text : str
        A configuration file that runs.

    Returns
    -------
    list of Finding
        Warnings, by line.
    """
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.expr):
            continue
        entries, what = _written_entries(node)
        line = node.lineno
        for entry, count in Counter(map(ast.unparse, entries)).items():
            if count > 1:
                found.append((line, f"{what} from line {line} on holds {entry} {count} times"))
    return [Finding("warning", None, told) for _, told in sorted(found)]


def access_findings(policy: Policy) -> list[Finding]:
    """Tell, for each rule without effect, of the rule before it, or that there are none.

    Returns
    -------
    list of Finding
        Warnings; a note if everybody is admitted.
    """
    severity = "note" if policy.access is None else "warning"
    return [Finding(severity, None, text) for text in policy.findings()]


def diff(saved: Saved, configuration: Configuration) -> list[EndedJob]:
    """Jobs that would end if the server that saved its state loaded a configuration.

    Parameters
    ----------
    saved : Saved
    configuration : Configuration

    Returns
    -------
    list of EndedJob
        In order of their ids. Jobs that wait for boards are not among them.

    Raises
    ------
    Exception
        If the change cannot be carried out, and so would end nothing.
    """
    old = {machine.name: machine for machine in saved.machines}
    new = {machine.name: machine for machine in configuration.machines}
    removed = set(MachineChange.plan(old, new).removed)
    return [
        EndedJob(
            job.job_id,
            job.owner,
            job.machine,
            "its boards, frames or addresses change" if job.machine in new else "it is gone",
        )
        for job in sorted(saved.jobs, key=lambda job: job.job_id)
        if job.machine is not None and job.machine in removed
    ]


def report_json(config: str, machines: list[MachineSummary], found: list[Finding]) -> str:
    """Write findings and machines as one JSON object, over several lines."""
    counts = Counter(finding.severity for finding in found)
    return dumps(
        {
            "file": config,
            "errors": counts["error"],
            "warnings": counts["warning"],
            "findings": [finding._asdict() for finding in found],
            "machines": [
                machine._asdict() | {"frames": [frame._asdict() for frame in machine.frames]}
                for machine in machines
            ],
        },
        indent=2,
        default=repr,
    )


def report_text(config: str, machines: list[MachineSummary], found: list[Finding]) -> str:
    """Write findings and machines for people."""
    lines: list[str] = []
    for machine in machines:
        lines += _machine_lines(machine)
    for severity, about, text in found:
        lines.append(f"{severity}: {text}" if about is None else f"{severity}: {about}: {text}")
    counts = Counter(finding.severity for finding in found)
    lines.append(
        f"{config}: {_count(len(machines), 'machine')}, "
        f"{_count(counts['error'], 'error')}, {_count(counts['warning'], 'warning')}"
    )
    return "\n".join(lines)


# --- helpers ---


def _summary(machine: Machine) -> MachineSummary:
    boards = Counter(place[:2] for place in machine.board_locations.values())
    live = live_boards(machine)
    return MachineSummary(
        machine.name,
        sorted(map(str, machine.tags)),
        machine.width,
        machine.height,
        machine.width * machine.height * 3,
        sorted(machine.dead_boards),
        len(dead_cables(machine)),
        [
            FrameSummary(cabinet, frame, machine.bmp_ips[cabinet, frame], boards[cabinet, frame])
            for cabinet, frame in sorted(boards)
        ],
        sorted((machine.spinnaker_ips[board] for board in live), key=_in_order),
    )


def _in_order(host: str) -> tuple[int, str]:
    """Sort addresses by number, and names after them."""
    try:
        return int(ipaddress.IPv4Address(host)), host
    except ValueError:
        return 1 << 32, host


def _machine_lines(machine: MachineSummary) -> Iterator[str]:
    yield f"{machine.name}: {machine.width} x {machine.height} triads"
    dead = f", {len(machine.dead_boards)} dead: {listed(machine.dead_boards)}"
    yield f"    boards     {machine.boards}{dead if machine.dead_boards else ', none dead'}"
    yield f"    dead links {machine.dead_links}"
    yield f"    tags       {', '.join(machine.tags) or 'none'}"
    if machine.addresses:
        yield f"    addresses  {machine.addresses[0]} to {machine.addresses[-1]}"
    for frame in machine.frames:
        where = f"cabinet {frame.cabinet}, frame {frame.frame}"
        yield f"    {where}: {_count(frame.boards, 'board')}, BMP {frame.bmp}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _general(configuration: Configuration) -> Iterator[Finding]:
    if not configuration.machines:
        yield Finding("warning", None, "no machines: every job will be refused")
    elif not any("default" in machine.tags for machine in configuration.machines):
        yield Finding(
            "warning",
            None,
            "no machine is tagged 'default': jobs that name neither machine nor tags are refused",
        )
    if configuration.port != _STANDARD_PORT:
        yield Finding(
            "warning",
            None,
            f"port {configuration.port!r} is not looked at: give --port on the command line",
        )


def _addresses(configuration: Configuration, resolve: Resolve) -> Iterator[Finding]:
    bmps = [(host, m.name) for m in configuration.machines for host in m.bmp_ips.values()]
    boards = [(host, m.name) for m in configuration.machines for host in m.spinnaker_ips.values()]
    hosts = [configuration.ip] if configuration.ip else []
    address_of = _resolved([*hosts, *(host for host, _ in (*bmps, *boards))], resolve)
    if configuration.ip and address_of[configuration.ip] is None and ":" not in configuration.ip:
        yield Finding(
            "error", None, f"ip {configuration.ip!r} does not resolve: nothing can listen"
        )
    for what, uses in (("BMP", bmps), ("board", boards)):
        for machine, lost in _by_machine(use for use in uses if address_of[use[0]] is None):
            yield Finding("warning", machine, f"{what} addresses do not resolve: {listed(lost)}")
    first: dict[str, str] = {}
    for host, machine in bmps:
        address = address_of[host]
        other = first.setdefault(address, host) if address else host
        if other != host:
            yield Finding("warning", machine, f"BMPs {other} and {host} are both {address}")


def _by_machine(uses: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    hosts: dict[str, list[str]] = {}
    for host, machine in uses:
        hosts.setdefault(machine, []).append(host)
    return hosts.items()


def _resolved(hosts: Iterable[str], resolve: Resolve) -> dict[str, str | None]:
    """Address of each host; each is looked up once, several at a time."""
    different = list(dict.fromkeys(hosts))
    with ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup") as pool:
        return dict(zip(different, pool.map(resolve, different), strict=True))


def _written_entries(node: ast.expr) -> tuple[list[ast.expr], str]:
    """Entries of a set or dictionary that is written out, and which it is."""
    if isinstance(node, ast.Dict):
        return _constants(node.keys), "dictionary"
    if isinstance(node, ast.Set):
        return _constants(node.elts), "set"
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("set", "frozenset")
        and len(node.args) == 1
        and isinstance(node.args[0], ast.List | ast.Tuple)
    ):
        return _constants(node.args[0].elts), "set"
    return [], ""


def _constants(entries: Iterable[ast.expr | None]) -> list[ast.expr]:
    """Entries that are the same each time they are evaluated, by the look of them."""
    varying = ast.Call | ast.Starred | ast.NamedExpr
    return [
        entry
        for entry in entries
        if entry is not None and not any(isinstance(part, varying) for part in ast.walk(entry))
    ]
