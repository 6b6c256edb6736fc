"""The tests that run a line, recorded once by the library coverage.

A mutant changes one statement, so that only the tests that run it can notice.  `record` runs
tests with a context for each, and `load` reads from its files a `LineTests`, which answers.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from xml.etree import ElementTree

from coverage import CoverageData

#: Files of a record: the lines' contexts, and the tests' times.
LINES, TIMES = "lines.coverage", "times.xml"
#: Seconds that a test without a known time is believed to take.
UNKNOWN = 1.0


class LineTests:
    """Tells which tests run a line.

    Parameters
    ----------
    lines : mapping
        Of each module's path below the checkout: of its lines, the ids of the tests that run them.
    seconds : mapping
        Of a test's id: how long the test took.
    sources : path, optional
        Folder with the modules as they were at that time, if they may have changed since.
    """

    def __init__(
        self,
        lines: Mapping[str, Mapping[int, Collection[str]]],
        seconds: Mapping[str, float],
        sources: Path = Path(),
    ) -> None:
        self._lines = lines
        self._seconds = seconds
        self._sources = sources

    def of(self, module: Path, line: int) -> list[str]:
        """Return the ids of the tests that run a line's statement, the quick ones first.

        An import runs some statements for all tests.  Such a statement belongs to all tests that
        run any line of the module.
        """
        known = self._lines.get(str(module), {})
        source = module.read_text()
        lines = self._recorded_lines(module, source, statement_at(source, line))
        found = {test for recorded in lines for test in known.get(recorded, ())}
        if not found:
            found = {test for tests in known.values() for test in tests}
        return sorted(found, key=lambda test: (self.seconds([test]), test))

    def _recorded_lines(self, module: Path, source: str, lines: range) -> list[int]:
        """Return the numbers that lines had in the record, but for those that are new."""
        recorded = self._sources / module
        if not recorded.exists():
            return []
        before, now = recorded.read_text().splitlines(), source.splitlines()
        blocks = SequenceMatcher(None, now, before, autojunk=False).get_matching_blocks()
        return [
            line - block.a + block.b
            for line in lines for block in blocks if block.a < line <= block.a + block.size
        ]

    def of_file(self, file: str) -> list[str]:
        """Return the ids of a file's tests."""
        return [test for test in self._seconds if test.startswith(f"{file}::")]

    def seconds(self, tests: Iterable[str]) -> float:
        """Return how long some tests, or all of a file, took together when they were recorded."""
        known = self._seconds
        return sum(known[test] if test in known else self._of_a_file(test) for test in tests)

    def _of_a_file(self, file: str) -> float:
        return sum(self._seconds[test] for test in self.of_file(file)) or UNKNOWN


def statement_at(source: str, line: int) -> range:
    """Return the lines whose runs tell that the statement at a line is run.

    Of a function that is its whole definition, since its default values and decorators matter
    when it is called; of a statement with a body the first lines, unless `line` is further down
    (at an ``except``, for instance).  Outside of functions no line tells it.
    """
    found = list(_around(ast.parse(source), line))
    if not any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in found):
        return range(0)
    inner = found[-1]
    end = (inner.end_lineno or inner.lineno) + 1
    body = getattr(inner, "body", None)
    if body and not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
        head = range(inner.lineno, max(body[0].lineno, inner.lineno + 1))
        return head if line in head else range(inner.lineno, end)
    return range(inner.lineno, end)


def _around(node: ast.AST, line: int) -> Iterator[ast.stmt]:
    """Find the statements around a line, the outermost first."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            decorators = getattr(child, "decorator_list", [])
            first = min([child.lineno, *(each.lineno for each in decorators)])
            if not first <= line <= (child.end_lineno or child.lineno):
                continue
            yield child
        yield from _around(child, line)


def record(folder: Path, tests: Iterable[str]) -> None:
    """Run tests of the checkout in the current folder, and leave in a folder the data for `load`.

    Raises
    ------
    RuntimeError
        If a test fails without any mutant.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree("spalloc_server", folder / "spalloc_server", ignore=ignored)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-n", "2", "--dist", "loadfile", f"--junitxml={folder / TIMES}"]
    command += ["--cov=spalloc_server", "--cov-context=test", "--cov-report="]
    command += ["--cov-fail-under=0", *tests]
    environment = {**os.environ, "COVERAGE_FILE": str(folder / LINES)}
    if subprocess.run(command, check=False, env=environment).returncode:
        raise RuntimeError("a test fails without any mutant, so that mutants cannot be judged")


def load(folder: Path) -> LineTests:
    """Read the files that `record` left in a folder."""
    return LineTests(_lines_of(folder / LINES), _seconds_of(folder / TIMES), folder)


def _lines_of(path: Path) -> dict[str, dict[int, set[str]]]:
    data = CoverageData(str(path))
    data.read()
    found: dict[str, dict[int, set[str]]] = {}
    for file in data.measured_files():
        lines: defaultdict[int, set[str]] = defaultdict(set)
        for line, contexts in data.contexts_by_lineno(file).items():
            lines[line].update(name.rpartition("|")[0] for name in contexts if "|" in name)
        found[_below_the_checkout(file)] = lines
    return found


def _below_the_checkout(file: str) -> str:
    """Return a module's path below the checkout in which it was recorded."""
    parts = Path(file).parts
    start = len(parts) - 1 - parts[::-1].index("spalloc_server")
    return str(Path(*parts[start:]))


def _seconds_of(path: Path) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        file = case.get("classname", "").replace(".", "/")
        found[f"{file}.py::{case.get('name')}"] += float(case.get("time", UNKNOWN))
    return found
