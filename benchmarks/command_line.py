"""The command ``python -m benchmarks``: options, and what is printed."""

from __future__ import annotations

import argparse
import fnmatch
import json
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import commands, growth, hardware, history, jobs, waits
from benchmarks.bench import Bench
from benchmarks.processes import REQUIREMENT, Contestant, Trouble, bare, original, ours
from benchmarks.results import Work, table

#: What can be measured, in the order of the table.
SCENES = (hardware, commands, jobs, growth, waits, history)


def main(args: Sequence[str] | None = None) -> int:
    """Run the benchmarks.

    Parameters
    ----------
    args : sequence of str or None
        Command line arguments; None for the process's own.

    Returns
    -------
    int
        Exit status: 0 also if a target is missed, 2 for wrong arguments.
    """
    parser = _parser()
    options = parser.parse_args(args)
    works = [work for scene in SCENES for work in scene.WORKS]
    if options.list:
        print("\n".join(f"{work.name:16} {work.title}" for work in works))
        return 0
    chosen = [work for work in works if _is_meant(work, options.only, works)]
    if not chosen:
        parser.error(f"no work is called {' or '.join(options.only)}; --list shows all")
    _allow_many_files()
    with tempfile.TemporaryDirectory(prefix="spalloc-bench-") as folder:
        bench = Bench(
            Path(folder),
            _contestants(options),
            rounds=options.rounds,
            settle=options.settle,
            seconds=options.seconds,
            clients=options.clients,
            chosen=lambda work: work in chosen,
            side=(options.side, options.side),
            quick=options.quick,
        )
        for scene in SCENES:
            scene.run(bench)
    results = [bench.results[work.name] for work in works if work.name in bench.results]
    if options.json is not None:
        text = json.dumps([result.plain() for result in results], indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    print("\n\n".join([*bench.pages, table(results)]))
    return 0


def _is_meant(work: Work, patterns: Sequence[str], works: Sequence[Work]) -> bool:
    """Return whether a work is meant: by its name, with * and ?, or its name before the @."""
    whole = {each.name for each in works}
    short = work.name.split("@")[0]
    return not patterns or any(
        fnmatch.fnmatch(work.name, pattern) or (pattern == short and pattern not in whole)
        for pattern in patterns
    )


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    racing = [ours()]
    if not options.ours_alone:
        try:
            racing.append(original(options.original))
        except Trouble as e:
            print(f"ours alone: {e}", file=sys.stderr)
    racing.append(bare())
    return racing


def _allow_many_files() -> None:
    """Let this process and those it starts have a thousand clients."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measures this server beside the public {REQUIREMENT}, on the same "
        "simulated frames, in turn.",
    )
    parser.add_argument("only", nargs="*", metavar="WORK", help="by name, e.g. list_jobs 'w*@900'")
    parser.add_argument("--list", action="store_true", help="show the names of all works")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement (5)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="for each rate of a command (0.5)"
    )
    parser.add_argument(
        "--settle", type=float, default=2.0, help="seconds a server is left alone first (2)"
    )
    parser.add_argument("--clients", type=int, default=1000, help="idle subscribers (1000)")
    parser.add_argument("--side", type=int, default=20, help="of the machine, in triads (20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there too")
    parser.add_argument(
        "--original", type=Path, metavar="VENV", help="where the original is installed already"
    )
    parser.add_argument("--quick", action="store_true", help="rough figures of the waits will do")
    parser.add_argument("--ours-alone", action="store_true", help="leave the original out")
    return parser
