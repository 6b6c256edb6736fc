"""Counts how easily the source is read: folders, circles, words.

``python -m tests.support.house [FOLDER]`` counts a checkout, this one unless told otherwise,
so that an older version can be counted with the same rules.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

#: Relative and interrogative pronouns that open a clause without a noun before it.
FREE_RELATIVE = re.compile(r"\b(what|whatever|who|whoever|whom|whose)\b", re.IGNORECASE)
_WORD = re.compile(r"\b\w+\b")
_LOGGING = {"debug", "info", "warning", "error", "exception", "critical", "log"}

#: The largest figures that `make house` lets pass.
MAX_TOP_MODULES = 20
MAX_MODULE_LINES = 600
MAX_FUNCTION_LINES = 60
MAX_RATE_OVERALL = 8.0
MAX_RATE_FOR_USERS = 4.0


class Count(NamedTuple):
    """Words of one kind of text."""

    words: int
    free_relatives: int

    @property
    def rate(self) -> float:
        """Free relatives per 1,000 words."""
        return 1000 * self.free_relatives / self.words if self.words else 0.0


def count(texts: Iterable[str]) -> Count:
    """Count the words of several texts."""
    words = relatives = 0
    for text in texts:
        words += len(_WORD.findall(text))
        relatives += len(FREE_RELATIVE.findall(text))
    return Count(words, relatives)


# --- imports ---


def modules_of(package: Path) -> dict[str, Path]:
    """Modules of a package, and it itself, by dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports_of(name: str, path: Path, modules: Collection[str]) -> set[str]:
    """Modules among `modules` that one of them imports, anywhere in its source."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else str(node.module))
    return found & set(modules) - {name}


def circles(package: Path) -> list[list[str]]:
    """Groups of modules that import each other, imports for type checkers included.

    An import of a package's module counts for that module, not for the package.
    """
    modules = modules_of(package)
    graph = {name: imports_of(name, path, modules) for name, path in modules.items()}
    reached = {name: _reachable(name, graph) for name in graph}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }
    return sorted(list(group) for group in groups)


def _reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    new = set(graph[start])
    while new:
        seen |= new
        new = {far for near in new for far in graph[near]} - seen
    return seen


# --- lengths ---


def too_long(package: Path) -> list[str]:
    """Return a sentence for each module and function that has too many lines."""
    found = []
    for name, path in modules_of(package).items():
        source = path.read_text(encoding="utf-8")
        lines = source.count("\n")
        if lines > MAX_MODULE_LINES:
            found.append(f"{name} has {lines} lines, {MAX_MODULE_LINES} may be")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno
                if lines > MAX_FUNCTION_LINES:
                    called = f"{name}.{node.name}"
                    found.append(f"{called} has {lines} lines, {MAX_FUNCTION_LINES} may be")
    return found


# --- words ---


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings_and_comments(path: Path) -> Iterator[str]:
    """All prose of a module that is for readers of the source."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _Documented):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("#: ")


def public_docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a public module's names that have no underscore before them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _public(tree):
        yield ast.get_docstring(node) or ""


def _public(node: ast.AST) -> Iterator[_Documented]:
    if isinstance(node, _Documented):
        yield node
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if named and not child.name.startswith("_"):  # type: ignore[attr-defined]
            yield from _public(child)


def messages(path: Path) -> Iterator[str]:
    """Texts of errors that are raised and of lines that are logged."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from _literals(node.exc)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_log = isinstance(node.func.value, ast.Name) and node.func.value.id == "log"
            if of_log and node.func.attr in _LOGGING:
                yield from _literals(node)


def _literals(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def manual(repository: Path) -> Iterator[str]:
    """Texts of the manual, the READMEs and the pages beside them."""
    for path in sorted((repository / "docs").rglob("*.rst")):
        if "_build" not in path.parts:
            yield path.read_text(encoding="utf-8")
    for name in ("README.rst", "CONTRIBUTING.rst", "client/README.rst", "web/README.rst"):
        if (repository / name).exists():
            yield (repository / name).read_text(encoding="utf-8")


# --- the figures ---


class House(NamedTuple):
    """All figures of a checkout."""

    top_modules: int
    circles: list[list[str]]
    too_long: list[str]
    overall: Count
    errors_and_logs: Count
    manual: Count
    public: Count

    def faults(self) -> list[str]:
        """Return a sentence for each figure that is too large."""
        found = []
        if self.top_modules > MAX_TOP_MODULES:
            found.append(f"{self.top_modules} modules in the top folder, {MAX_TOP_MODULES} may be")
        found += [f"modules import each other: {', '.join(circle)}" for circle in self.circles]
        found += self.too_long
        rates = {
            "docstrings and comments": (self.overall, MAX_RATE_OVERALL),
            "errors and log lines": (self.errors_and_logs, MAX_RATE_FOR_USERS),
            "the manual": (self.manual, MAX_RATE_FOR_USERS),
            "public docstrings": (self.public, MAX_RATE_FOR_USERS),
        }
        for name, (counted, most) in rates.items():
            if counted.rate >= most:
                found.append(f"{counted.rate:.1f} free relatives in 1,000 words of {name}")
        return found


def measure(repository: Path) -> House:
    """Count a checkout."""
    package = repository / "spalloc_server"
    sources = list(modules_of(package).values())
    top = [path for path in sources if path.parent == package]
    published = [path for path in top if not path.name.startswith("_")]
    return House(
        len(top),
        circles(package),
        too_long(package),
        count(text for path in sources for text in docstrings_and_comments(path)),
        count(text for path in sources for text in messages(path)),
        count(manual(repository)),
        count(text for path in published for text in public_docstrings(path)),
    )


def main(args: list[str] | None = None) -> int:
    """Print the figures of a checkout; the exit status is 1 if one is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[2])
    house = measure(parser.parse_args(args).folder)
    print(f"modules in the top folder       {house.top_modules:6}")
    print(f"import circles                  {len(house.circles):6}")
    print(f"modules, functions too long     {len(house.too_long):6}")
    print("free relatives per 1,000 words")
    print(f"    docstrings and comments     {house.overall.rate:6.1f}")
    print(f"    errors and log lines        {house.errors_and_logs.rate:6.1f}")
    print(f"    manual                      {house.manual.rate:6.1f}")
    print(f"    public docstrings           {house.public.rate:6.1f}")
    faults = house.faults()
    for fault in faults:
        print(f"too much: {fault}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
