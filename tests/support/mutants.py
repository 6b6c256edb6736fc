"""Mutation testing: changes one thing in the source at a time, and sees whether a test notices.

``python -m tests.support.mutants [PACKAGE ...]`` draws mutants of some packages, from a seed, and
runs for each the tests of its module, then those of its package.  It works in a copy of the
checkout, so that this one is left alone.  The changes are made by the library cosmic-ray.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
#: Packages that are drawn from unless others are named.
PACKAGES = ("_allocation", "_queueing", "_saved", "_jobs", "_wire")
#: Seconds that the tests of one mutant may take; then it counts as noticed, since it hangs.
PATIENCE = 300.0
#: Operators whose mutants mean the same to the program: types are no business of a test.
_NO_CHANGE = ("core/ReplaceBinaryOperator_BitOr",)


class Mutant(NamedTuple):
    """One change of one module."""

    module: Path
    specification: Any

    def __str__(self) -> str:
        what = self.specification
        return f"{self.module}:{what.start_pos[0]} {what.operator_name.removeprefix('core/')}"


def mutants_of(package: str) -> Iterator[Mutant]:
    """Find all mutants of a package's modules."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import use_db

    with tempfile.TemporaryDirectory() as folder:
        modules = sorted(Path("spalloc_server", package).glob("*.py"))
        with use_db(str(Path(folder, "work"))) as work:
            init([path for path in modules if path.name != "__init__.py"], work, {})
            for item in work.work_items:
                for specification in item.mutations:
                    if not specification.operator_name.startswith(_NO_CHANGE):
                        yield Mutant(Path(specification.module_path), specification)


def suites_of(module: Path) -> list[list[str]]:
    """Return which tests are run for a module's mutants, the likely ones first."""
    folder = Path("tests", module.parent.name.strip("_"))
    own = folder / f"test_{module.stem}.py"
    return [*([[str(own)]] if own.exists() else []), [str(folder)]]


def survives(mutant: Mutant) -> bool:
    """Make a mutant, and return whether all tests pass all the same."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    what = mutant.specification
    operator = get_operator(what.operator_name)(**what.operator_args)
    with use_mutation(mutant.module, operator, what.occurrence):
        return all(_pass(tests) for tests in suites_of(mutant.module))


def _pass(tests: Sequence[str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main(args: Sequence[str] | None = None) -> int:
    """Draw mutants and print those that no test notices."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", default=PACKAGES, help=" ".join(PACKAGES))
    parser.add_argument("--sample", type=int, default=60, help="mutants of each package (60)")
    parser.add_argument("--seed", type=int, default=22244, help="of the drawing (22244)")
    options = parser.parse_args(args)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "checkout")
        ignored = shutil.ignore_patterns(".git", ".venv*", "_build", ".mypy_cache", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        os.chdir(copy)
        drawn = alive = 0
        for package in options.packages:
            found = list(mutants_of(package))
            rng = random.Random(f"{options.seed}-{package}")
            for mutant in rng.sample(found, min(options.sample, len(found))):
                drawn += 1
                if survives(mutant):
                    alive += 1
                    print(f"alive: {mutant}", flush=True)
            print(f"{package}: {drawn} drawn so far, {alive} alive", flush=True)
        os.chdir(ROOT)
    share = 100 * alive / drawn if drawn else 0.0
    print(f"seed {options.seed}: {alive} of {drawn} mutants alive ({share:.1f} %)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
