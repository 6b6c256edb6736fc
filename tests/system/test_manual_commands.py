"""Commands that the manual shows are understood by the programs, word for word."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import server
from spalloc_server._history import main as history
from spalloc_server._programs import state_tool
from spalloc_server._simulator import main as simulator

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.rst", *(ROOT / "docs").rglob("*.rst")])
PROGRAMS: dict[str, Callable[[list[str]], Any]] = {
    "spalloc_server": server.main,
    "spalloc-state": state_tool.main,
    "spalloc-simulator": simulator.main,
    "spalloc-history": history.main,
}


class Understood(BaseException):
    """A command's words have been parsed."""


def commands(text: str) -> Iterator[list[str]]:
    """Commands of our programs in the literal blocks of a page: program, words."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"^ {4,}(?:# |\$ )?(\S.*)$", joined, re.MULTILINE):
        program = Path(line.split(maxsplit=1)[0]).name
        if program in PROGRAMS:
            words = shlex.split(re.sub(r" [&|>].*$", "", line), comments=True)[1:]
            if words:  # a name alone is an entry of a list
                yield [program, *words]


def shown() -> list[list[str]]:
    return [command for page in PAGES for command in commands(page.read_text())]


def understand(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """Have the program parse the words, and no more; an error of it ends the test."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, *given: Any) -> None:
        parse_args(self, *given)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    program, *words = command
    with pytest.raises(Understood):
        PROGRAMS[program](words)


@pytest.mark.parametrize("command", shown(), ids=" ".join)
def test_a_command_of_the_manual_is_understood(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    understand(monkeypatch, command)


def test_each_program_is_shown_at_work() -> None:
    assert {program for program, *_ in shown()} == set(PROGRAMS)


def test_the_service_s_state_is_looked_for_where_its_unit_puts_it() -> None:
    about_service = [
        command
        for command in shown()
        if command[0] == "spalloc-state" and "/etc/spalloc/spalloc.cfg" in command
    ]

    assert about_service
    for command in about_service:
        at = command.index("--state-dir")
        assert command[at + 1] == "/var/lib/spalloc", command


def test_a_command_that_no_program_understands_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = commands("Do it::\n\n    $ /opt/bin/spalloc_server --chek \\\n        a.cfg\n")

    assert command == ["spalloc_server", "--chek", "a.cfg"]
    with pytest.raises(SystemExit):
        understand(monkeypatch, command)
    assert "--chek" in capsys.readouterr().err
