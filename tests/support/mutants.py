"""Mutation testing: changes one thing in the source at a time, and sees whether a test notices.

``python -m tests.support.mutants [PACKAGE ...]`` draws mutants of some packages, from a seed.  It
first runs the tests once, to learn which of them run a line, then shows each mutant to the tests
of its line, the module's own first.  It works in a copy of the checkout, so that this one is left
alone.  The changes are made by the library cosmic-ray.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import cache_from_source
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.line_tests import LINES, LineTests, load, record, statement_at

ROOT = Path(__file__).parents[2]
#: Packages that are drawn from unless others are named.
PACKAGES = ("_allocation", "_queueing", "_saved", "_jobs", "_wire")
#: The tests that are shown mutants: all but the slow ones, which start whole servers.
TESTS = ("tests", "--ignore=tests/system")
#: Tests that are shown changes of constants, which they read.
READERS = "tests/system/test_limits.py"
#: Tests of a line in the first run; most mutants get no further.
FIRST = 40
#: Seconds of tests, as they took without a mutant, that a mutant is shown to beside its own file.
MOST = 60.0
#: Tests may take so many times their seconds, and some more; then a mutant is noticed: it hangs.
TIMES_LONGER, LONGER = 4.0, 30.0
#: The exit status of pytest if each test of a file is left out.
_NO_TESTS = 5
#: The exit status of pytest if there is no such test.
_NO_SUCH_TEST = 4
#: Operators of mutants that mean the same to the program: types are no business of a test.
_NO_CHANGE = ("core/ReplaceBinaryOperator_BitOr",)


class Mutant(NamedTuple):
    """One change of one module."""

    module: Path
    specification: Any

    @property
    def line(self) -> int:
        """The line that is changed."""
        return int(self.specification.start_pos[0])

    def __str__(self) -> str:
        change = self.specification
        place = ":".join(map(str, (self.module, self.line, change.start_pos[1])))
        return f"{place} {change.operator_name.removeprefix('core/')} {change.occurrence}"


def mutants_of(package: str) -> Iterator[Mutant]:
    """Find the mutants of a package's modules, but for those of types."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import use_db

    with tempfile.TemporaryDirectory() as folder:
        modules = sorted(Path("spalloc_server", package).glob("*.py"))
        with use_db(str(Path(folder, "work"))) as work:
            init([path for path in modules if path.name != "__init__.py"], work, {})
            for item in work.work_items:
                for specification in item.mutations:
                    mutant = Mutant(Path(specification.module_path), specification)
                    if not _is_about_types(mutant):
                        yield mutant


def _is_about_types(mutant: Mutant) -> bool:
    return (
        mutant.specification.operator_name.startswith(_NO_CHANGE)
        or mutant.line in lines_of_types(mutant.module.read_text())
    )


@lru_cache(maxsize=4)
def lines_of_types(source: str) -> frozenset[int]:
    """Return the lines that only type checkers read: ``if TYPE_CHECKING:`` and its body."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return frozenset(found)


def runs_of(module: Path, line: int, known: LineTests) -> list[list[str]]:
    """Return pytest's arguments for each run that a mutant is shown to, the likely ones first.

    Tests of the module's own file come first, those among them that are newer than the record,
    then those of the package, then those of others; the slowest are left out if there are many.
    Changes outside of functions are shown to the tests of limits, too.
    Without any test of the line, the package's whole folder is run.
    """
    folder = Path("tests", module.parent.name.strip("_"))
    own = folder / f"test_{module.stem}.py"
    found = known.of(module, line)
    kin = set(known.of_file(str(own)))
    unconcerned = sorted(kin - set(found))
    runs = [[str(own), *map("--deselect={}".format, unconcerned)]] if own.exists() else []
    near = [test for test in found if test.startswith(f"{folder}/") and test not in kin]
    far = [test for test in found if not test.startswith(f"{folder}/")]
    for slow in (far, near):
        while slow and known.seconds(near + far) > MOST:
            slow.pop()
    if not statement_at(module.read_text(), line):
        runs.insert(0, [READERS])
    runs += [near[:FIRST], near[FIRST:], far]
    runs = [run for run in runs if run]
    return runs if found or own.exists() else [*runs, [str(folder)]]


def survives(mutant: Mutant, known: LineTests) -> bool:
    """Make a mutant, and return whether all tests of its line pass all the same."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    change = mutant.specification
    operator = get_operator(change.operator_name)(**change.operator_args)
    runs = runs_of(mutant.module, mutant.line, known)
    try:
        with use_mutation(mutant.module, operator, change.occurrence):
            return all(_pass(run, _patience(run, known)) for run in runs)
    finally:
        # Of the same size and second, it would be taken for the compiled form of the next one.
        Path(cache_from_source(str(mutant.module))).unlink(missing_ok=True)


def _patience(run: Sequence[str], known: LineTests) -> float:
    tests = [each for each in run if not each.startswith("-")]
    return LONGER + TIMES_LONGER * known.seconds(tests)


def _pass(tests: Sequence[str], timeout: float) -> bool:
    process = multiprocessing.get_context("fork").Process(target=_run_pytest, args=(tests,))
    process.start()
    process.join(timeout)
    with contextlib.suppress(ProcessLookupError):  # It and all programs that it has started.
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    if process.exitcode == _NO_SUCH_TEST:
        raise RuntimeError("a test of the record is gone; mutants need a new record of the tests")
    return process.exitcode in (0, _NO_TESTS)


def _run_pytest(tests: Sequence[str]) -> None:
    """Run tests of the current folder in a child, which has all libraries from its parent."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    for name in [name for name in sys.modules if _is_ours(name)]:
        del sys.modules[name]
    sys.path.insert(0, str(Path.cwd()))
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # The parent has the plug-ins.
    os._exit(pytest.main([*options, *tests]))


def import_libraries() -> None:
    """Import all libraries that tests import, but nothing that a mutant may change."""
    source = "import sys, hypothesis, tests.conftest, spalloc_server.server; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True).stdout
    for name in names.decode().split():
        if not _is_ours(name):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("spalloc_server", "tests")


class Log:
    """A file with a line for each mutant that was tried, so that a run can go on later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.tried: dict[str, bool] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            state, _, name = line.partition(" ")
            self.tried[name] = state == "alive"

    def add(self, mutant: Mutant, alive: bool) -> None:
        """Write down whether a mutant is alive."""
        self.tried[str(mutant)] = alive
        with self._path.open("a") as file:
            print("alive" if alive else "noticed", mutant, file=file)


def drawn(packages: Sequence[str], sample: int, seed: int) -> Iterator[Mutant]:
    """Draw some mutants of each package, the packages in turn; the same ones each time."""
    samples = []
    for package in packages:
        found = list(mutants_of(package))
        rng = random.Random(f"{seed}-{package}")
        samples.append(rng.sample(found, min(sample, len(found))))
    for turn in zip_longest(*samples):
        yield from filter(None, turn)


def _copy_of_the_checkout(folder: Path) -> Path:
    ignored = shutil.ignore_patterns(".git", ".venv*", "_build", ".mypy_cache", "__pycache__")
    return Path(shutil.copytree(ROOT, folder / "checkout", ignore=ignored))


def main(args: Sequence[str] | None = None) -> int:
    """Draw mutants and print those that no test notices."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", default=PACKAGES, help=" ".join(PACKAGES))
    parser.add_argument("--sample", type=int, default=60, help="mutants of each package (60)")
    parser.add_argument("--seed", type=int, default=22244, help="of the drawing (22244)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER",
        help="keep here the record of the tests and the mutants tried, and go on from them")
    parser.add_argument("--again", action="store_true",
        help="of the mutants tried, try those again that were alive")
    options = parser.parse_args(args)
    with tempfile.TemporaryDirectory() as temporary:
        kept = (options.keep or Path(temporary, "kept")).absolute()
        kept.mkdir(parents=True, exist_ok=True)
        os.chdir(_copy_of_the_checkout(Path(temporary)))
        os.environ["PYTHONPATH"] = str(Path.cwd())
        import_libraries()
        if not (kept / LINES).exists():
            record(kept, TESTS)
        log = Log(kept / f"tried-{options.seed}.log")
        if options.again:
            log.tried = {name: False for name, alive in log.tried.items() if not alive}
        alive, tried = _try(drawn(options.packages, options.sample, options.seed), load(kept), log)
        os.chdir(ROOT)
    share = 100 * alive / tried if tried else 0.0
    print(f"seed {options.seed}: {alive} of {tried} mutants alive ({share:.1f} %)")
    return 0


def _try(mutants: Iterator[Mutant], known: LineTests, log: Log) -> tuple[int, int]:
    """Try mutants that were not tried before, and return how many of all are alive."""
    alive = tried = 0
    for mutant in mutants:
        tried += 1
        if str(mutant) not in log.tried:
            log.add(mutant, survives(mutant, known))
        if log.tried[str(mutant)]:
            alive += 1
            print(f"alive: {mutant}", flush=True)
    return alive, tried


if __name__ == "__main__":
    sys.exit(main())
