"""What the manual says is so."""

import ast
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spalloc_server
from spalloc_server import controller, server
from tests.support.simulated_server import Client, copy_of_example, simulated_server

PACKAGE = Path(spalloc_server.__file__).parent
DOCS = Path(__file__).parent.parent.parent / "docs"
EXCHANGES = DOCS / "exchanges"


# --- examples of the protocol ---


def test_every_command_has_an_example() -> None:
    shown = {path.stem for path in EXCHANGES.glob("*.txt")}

    assert shown == set(server._COMMANDS)
    for name in shown:
        text = (EXCHANGES / f"{name}.txt").read_text()
        assert f'> {{"command": "{name}"' in text.rpartition("---\n")[2]


#: Numbers that are others each time.
ANY_NUMBER = {
    "start_time", "made", "created", "allocated", "ready", "ended", "event", "number", "next",
    "time", "until", "last", "state", "events_until",
}  # fmt: skip


def same(told: Any, shown: Any) -> bool:
    """Whether an answer is the one shown; times, numbers of events and "…" may be any.

    A later version may know more commands than are shown.
    """
    if shown == "…":
        return isinstance(told, str)
    if isinstance(told, dict) and isinstance(shown, dict) and told.keys() == shown.keys():
        return all(
            set(shown[key]) <= set(told[key])
            if key == "commands"
            else _alike(told[key], shown[key], any_number=key in ANY_NUMBER)
            for key in told
        )
    if isinstance(told, list) and isinstance(shown, list) and len(told) == len(shown):
        return all(map(same, told, shown))
    return type(told) is type(shown) and told == shown


def _alike(told: Any, shown: Any, *, any_number: bool) -> bool:
    # States of jobs are small numbers, those of servers' events are times.
    if any_number and isinstance(shown, (int, float)) and not isinstance(shown, bool):
        return type(told) is type(shown) and (shown < 10) == (told < 10)
    return same(told, shown)


@pytest.mark.parametrize("name", sorted(server._COMMANDS))
def test_an_example_is_what_the_server_answers(name: str, tmp_path: Path) -> None:
    config = copy_of_example("demo.cfg", tmp_path)

    with (
        simulated_server(config) as running,
        Client(running.port) as client,
        Client(running.port) as watching,
    ):
        for line in (EXCHANGES / f"{name}.txt").read_text().splitlines():
            mark, _, text = line.partition(" ")
            if mark == ">":
                client.send_line(text)
                told = client.answer()
            elif mark == "<":
                shown = json.loads(text)
                assert same(told, shown), f"{told} is not {shown}"
            elif text.startswith("ready"):
                watching.wait_until(int(text.split()[1]), controller.JobState.ready)
            elif text == "notification":
                told = client.next_notification()
        assert client.notifications == []


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"return": 1}, {"return": 2}),
        ({"return": 1}, {"return": 1.0}),
        ({"return": True}, {"return": 1}),
        ({"return": 1}, {"return": "…"}),
        ({"return": [1]}, {"return": [1, 2]}),
        ({"start_time": None}, {"start_time": 5.0}),
        ({"a": 1}, {"b": 1}),
        ({"state": 3}, {"state": 1795874258}),
        ({"commands": ["a"]}, {"commands": ["b"]}),
    ],
)
def test_another_answer_is_found(told: Any, shown: Any) -> None:
    assert same(told, told)
    assert not same(told, shown)


# --- man pages ---


def test_every_man_page_has_examples_and_exit_statuses() -> None:
    pages = [page for page in (DOCS / "commands").glob("*.rst") if page.stem != "index"]

    assert len(pages) >= 11
    for page in pages:
        text = page.read_text()
        for section in ("Examples", "Exit status", "See also"):
            assert f"\n{section}\n---" in text, f"{page.name} has no section {section!r}"


# --- where exceptions end ---


def boundaries(package: Path) -> list[str]:
    """Handlers of every exception that let none of them pass: module.Class.function."""
    return sorted(
        where
        for path in package.rglob("*.py")
        for where in _in(
            ast.parse(path.read_text()),
            ".".join(path.relative_to(package).with_suffix("").parts),
        )
    )


def _in(node: ast.AST, where: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inside = where
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inside = f"{where}.{child.name}"
        if isinstance(child, ast.ExceptHandler) and _takes_all(child):
            yield where
        yield from _in(child, inside)


def _takes_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    named = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
    takes_all = handler.type is None or bool(named & {"Exception", "BaseException"})
    last = handler.body[-1]
    return takes_all and not (isinstance(last, ast.Raise) and last.exc is None)


def test_the_table_of_boundaries_is_that_of_the_source() -> None:
    with (DOCS / "boundaries.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]

    assert sorted(where for where, _ in rows) == boundaries(PACKAGE), (
        "docs/boundaries.csv has a row for each place where exceptions of any kind end"
    )
    assert all(why for _, why in rows)


def test_a_boundary_is_found_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(
        "class C:\n"
        "    def a(self):\n"
        "        try: pass\n"
        "        except Exception: pass\n"
        "    def b(self):\n"
        "        try: pass\n"
        "        except (ValueError, BaseException) as e: print(e)\n"
        "def c():\n"
        "    try: pass\n"
        "    except: pass\n"
        "def passes_on():\n"
        "    try: pass\n"
        "    except Exception:\n"
        "        print()\n"
        "        raise\n"
    )

    assert boundaries(tmp_path) == ["room.C.a", "room.C.b", "room.c"]


# --- locks ---


def locks(package: Path) -> list[str]:
    """Attributes that are locks: Class.attribute."""
    return sorted(
        f"{kind.name}.{target.attr}"
        for path in package.rglob("*.py")
        for kind in ast.walk(ast.parse(path.read_text()))
        if isinstance(kind, ast.ClassDef)
        for node in ast.walk(kind)
        if isinstance(node, ast.Assign | ast.AnnAssign) and _is_lock(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute)
    )


def _is_lock(made: ast.expr | None) -> bool:
    return isinstance(made, ast.Call) and ast.unparse(made.func).removeprefix("threading.") in {
        "Lock",
        "RLock",
        "Condition",
        "Semaphore",
        "BoundedSemaphore",
    }


def test_the_table_of_locks_is_that_of_the_source() -> None:
    with (DOCS / "locks.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]

    assert sorted(name for name, _ in rows) == locks(PACKAGE)
    assert all(guards for _, guards in rows)


def test_a_lock_is_found_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(
        "class C:\n"
        "    def __init__(self):\n"
        "        self.a = threading.Lock()\n"
        "        self.b: object = Condition(threading.Lock())\n"
        "        self.c = threading.Event()\n"
        "        self.d: object\n"
    )

    assert locks(tmp_path) == ["C.a", "C.b"]


# --- words ---


def terms() -> tuple[list[str], list[str]]:
    """Entries of the glossary: the field's, and the project's."""
    text = (DOCS / "glossary.rst").read_text()
    return tuple(  # type: ignore[return-value]
        re.findall(r"^    (?! )(.+)$", part, re.MULTILINE)
        for part in text.split(".. glossary::\n")[1:]
    )


def test_every_term_of_the_glossary_is_used_by_the_source() -> None:
    source = "\n".join(path.read_text().lower() for path in PACKAGE.rglob("*.py"))

    _, project = terms()

    patterns = {term: rf"\b{term.replace(' ', '.?')}" for term in project}
    assert project == sorted(project, key=str.lower)
    assert [term for term in project if not re.search(patterns[term], source)] == []


def test_no_term_is_explained_twice() -> None:
    every = [term.lower() for part in terms() for entry in part for term in entry.split(", ")]

    assert len(every) == len(set(every))


# --- troubleshooting and threads ---


def words_of(package: Path) -> str:
    """All text in a package's sources but docstrings, a literal a line."""
    found = []
    for source in package.rglob("*.py"):
        tree = ast.parse(source.read_text())
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ]
    return "\n".join(found)


def quoted_symptoms() -> set[str]:
    """What troubleshooting quotes of the log and of jobs' reasons."""
    text = (DOCS / "troubleshooting.rst").read_text()
    logged = re.findall(r"\*(?=\S)([^*]+)(?<=\S)\*", text)
    reasons = re.findall(r"^``([^`]+\.)(?: Error: …)?``$", text, re.MULTILINE)
    return {" ".join(each.split()) for each in (*logged, *reasons)}


def test_troubleshooting_has_the_words_of_the_program() -> None:
    symptoms = quoted_symptoms()
    said = words_of(PACKAGE)

    assert symptoms >= {"cannot listen on", "Job timed out.", "Machine configuration failed."}
    assert {each for each in symptoms if each not in said} == set()


def thread_names(package: Path) -> set[str]:
    """Names that threads are given, as far as they are fixed."""
    names = set()
    for path in package.rglob("*.py"):
        if "_simulator" in path.parts:
            continue  # a program of its own
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Thread"):
                for keyword in node.keywords:
                    if keyword.arg == "name":
                        names.add(ast.unparse(keyword.value).strip("f'\"").partition("{")[0])
    return names


def test_every_thread_is_in_the_manual() -> None:
    manual = (DOCS / "internals.rst").read_text()
    names = thread_names(PACKAGE)

    assert "Server Thread" in names
    for name in names:
        assert f"``{name}" in manual, f"docs/internals.rst does not tell of thread {name!r}"
