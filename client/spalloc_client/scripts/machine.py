"""spalloc-machine: the machines, or one of them with a map of its users."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.text import Text

from spalloc_client._answers import JobRow, MachineRow, read_jobs, read_machines
from spalloc_client._board_states import (
    SIGNS,
    board_rows,
    count_states,
    counts_text,
    reasons,
    sign_of,
)
from spalloc_client._extensions import BoardRow, read_boards
from spalloc_client._geometry import both_ends
from spalloc_client._palette import field
from spalloc_client._program import run
from spalloc_client._queue import ask_boards
from spalloc_client._session import Session
from spalloc_client._tables import (
    Column,
    Lettering,
    boards_in_use,
    dead_link_key,
    facts,
    jobs_on,
    letters,
    machine_map,
    machines_table,
    make_table,
    state_text,
)
from spalloc_client._terminal import make_console, map_width, show
from spalloc_client._watch import watch
from spalloc_client.scripts._command import (
    Parser,
    check_json,
    no_such_machine,
    print_json,
    session_with,
    settings_for,
    with_state_name,
)

#: Lines of reasons for the states of boards that are shown without --detailed.  # arbitrary
_MOST_REMARKS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run("spalloc-machine", _main, argv)


def _parser() -> Parser:
    parser = Parser("spalloc-machine", "Show the machines, or one of them with a map.")
    parser.add_argument("machine", nargs="?", metavar="MACHINE", help="show this one")
    parser.add_argument("--watch", "-w", action="store_true", help="keep showing it as it changes")
    parser.add_argument(
        "--detailed", "-d", action="store_true", help="below the map, say more of each job"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_server_arguments()
    return parser


def _main(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    check_json(arguments)
    name: str | None = arguments.machine
    with session_with(settings_for(arguments)) as session:
        if arguments.json:
            print_json(_json(session, name))
            return 0
        console = make_console()
        lettering = Lettering()

        def draw() -> Sequence[RenderableType]:
            machines, jobs = _ask(session)
            if name is None and not machines:
                return [Text("No machines.")]
            if name is None:
                boards = ask_boards(session, machines)
                return [machines_table(console, machines, jobs, boards)]
            machine = _find(machines, name)
            told = ask_boards(session, [machine])
            rows = board_rows(machine, jobs) if told is None else told.get(name, [])
            return draw_machine(
                console, machine, rows, jobs, lettering, detailed=arguments.detailed
            )

        if arguments.watch:
            session.subscribe("notify_job")
            session.subscribe("notify_machine")
            session.subscribe("notify_events")  # boards go out of service, and come back
            watch(console, session, draw)
        else:
            show(console, *draw())
    return 0


def _ask(session: Session) -> tuple[list[MachineRow], list[JobRow]]:
    machines = read_machines(session.call("list_machines"))
    return machines, read_jobs(session.call("list_jobs"))


def _find(machines: list[MachineRow], name: str) -> MachineRow:
    for machine in machines:
        if machine.name == name:
            return machine
    raise no_such_machine(name, [machine.name for machine in machines])


def _json(session: Session, name: str | None) -> Any:
    raw_machines = session.call("list_machines")
    raw_jobs = session.call("list_jobs")
    machines, jobs = read_machines(raw_machines), read_jobs(raw_jobs)
    shown = []
    for raw, machine in zip(raw_machines, machines, strict=True):
        here = [
            with_state_name(raw_job)
            for raw_job, job in zip(raw_jobs, jobs, strict=True)
            if jobs_on(machine, [job])
        ]
        counts = {
            "num_boards": 3 * machine.width * machine.height - len(machine.dead_boards),
            "in_use": boards_in_use(jobs_on(machine, jobs)),
            "jobs": here,
        }
        shown.append({**raw, **counts, **_json_boards(session, machine)})
    if name is None:
        return shown
    _find(machines, name)
    return next(machine for machine in shown if machine["name"] == name)


def _json_boards(session: Session, machine: MachineRow) -> dict[str, Any]:
    """Tell the state of each board where the server does, and count the boards in each."""
    if not session.facility().offers("list_boards"):
        return {}
    answer = session.call("list_boards", machine.name)
    rows = read_boards(answer)
    if rows is None:  # the machine has gone meanwhile
        return {}
    return {"boards": answer["boards"], "board_counts": count_states(rows)}


def draw_machine(
    console: Console,
    machine: MachineRow,
    boards: Sequence[BoardRow],
    jobs: Sequence[JobRow],
    lettering: Lettering,
    *,
    detailed: bool,
) -> list[RenderableType]:
    """Make the summary, the map and the key of a machine."""
    here = jobs_on(machine, jobs)
    numbers = lettering.assign(job.job_id for job in here)
    here.sort(key=lambda job: numbers[job.job_id])
    # Detailed or not, the key tells every sign of the map.
    key = _key(console, machine, boards, [] if detailed else here, numbers)
    details = [Text(), *_details(console, here, numbers)] if detailed and here else []
    remarks = _remarks(boards, detailed)
    return [
        _summary(machine, boards, here),
        Text(),
        *machine_map(console, machine, boards, here, numbers),
        Text(),
        *key,
        *([Text(), *remarks] if remarks else []),
        *details,
    ]


def _summary(
    machine: MachineRow, boards: Sequence[BoardRow], jobs: Sequence[JobRow]
) -> RenderableType:
    counts = count_states(boards)
    dead = counts.get("dead", 0)
    # A link counts once, whichever of its ends the server names.
    links = len(both_ends(machine.dead_links, machine.width, machine.height)) // 2
    words = (
        f"{len(boards) - dead} ({counts_text(counts)}), {dead} dead, "
        f"{links} dead link{'s' * (links != 1)}"
    )
    return facts(
        [
            ("Machine", machine.name),
            ("Size", f"{machine.width} x {machine.height} triads"),
            ("Boards", words),
            ("Jobs", str(len(jobs))),
            ("Tags", ", ".join(sorted(machine.tags))),
        ]
    )


def _remarks(boards: Sequence[BoardRow], detailed: bool) -> list[RenderableType]:
    """Tell the server's reasons for the states of boards; a few, unless in detail."""
    lines = reasons(boards)
    shown = lines if detailed else lines[:_MOST_REMARKS]
    more = len(lines) - len(shown)
    if more:
        shown.append(f"and {more} more reason{'s' * (more != 1)}; --detailed tells all")
    return [Text(line) for line in shown]


def _key(
    console: Console,
    machine: MachineRow,
    boards: Sequence[BoardRow],
    jobs: Sequence[JobRow],
    numbers: dict[int, int],
) -> list[RenderableType]:
    lettered = {board for job in jobs for board in job.boards or ()}
    signs = {row.state for row in boards if row.board not in lettered} | {"free"}
    entries = [
        Text.assemble((mark.label, mark.style), f"  {state}")
        for state in SIGNS
        if state in signs and state != "used"
        for mark in [sign_of(state)]
    ]
    if machine.dead_links:
        entries.append(dead_link_key(console))
    for job in jobs:
        number = numbers[job.job_id]
        entries.append(Text.assemble((letters(number), field(number)), f"  job {job.job_id}"))
    if map_width(console) is not None:
        return [Columns(entries, padding=(0, 3))]
    return [Text("   ").join(entries)]


_DETAIL_COLUMNS = (
    Column("Key"),
    Column("Job", "right"),
    Column("State", spare=1),
    Column("Boards", "right"),
    Column("Owner", elastic=True),
)


def _details(
    console: Console, jobs: Sequence[JobRow], numbers: dict[int, int]
) -> list[RenderableType]:
    rows = [
        (
            Text(letters(numbers[job.job_id]), field(numbers[job.job_id])),
            str(job.job_id),
            state_text(job.state),
            str(len(job.boards or ())),
            job.owner,
        )
        for job in jobs
    ]
    return [make_table(console, _DETAIL_COLUMNS, rows)]


if __name__ == "__main__":
    sys.exit(main())
