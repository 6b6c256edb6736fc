"""Directives that write the parts of the manual that the code knows best.

``spalloc-options``     the options of a program, from its argument parser
``spalloc-protocol``    the commands of the protocol, with examples that are tests
``spalloc-metrics``     the table of metrics
``spalloc-panels``      the panels of the dashboard
``spalloc-outcomes``    what is written to the journal
``spalloc-crash-points``  where tests kill the server
``spalloc-boundaries``  where exceptions end
``spalloc-layers``      which module may use which
``spalloc-job-states``  the life of a job
``spalloc-access``  the effect of each command by class of access
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import spalloc_server
from spalloc_server._access.commands import table as access_table
from spalloc_server._jobs import book
from spalloc_server._programs.metrics import METRICS
from spalloc_server._saved.crash_points import POINTS
from spalloc_server.controller import JobState
from spalloc_server.server import _COMMANDS

DOCS = Path(__file__).parent.parent


class Written(SphinxDirective):
    """A directive whose content is reStructuredText that Python writes."""

    def lines(self) -> Iterable[str]:
        """Return what to put in the directive's place."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse what was written, sections included."""
        source = StringList(list(self.lines()), source=f"<{self.name}>")
        return self.parse_text_to_nodes("\n".join(source), allow_section_headings=True)


# --- programs ---


class _Caught(BaseException):
    """A program has made its parser."""


def parser_of(where: str) -> argparse.ArgumentParser:
    """Return the parser of the program ``module:function``, as it is about to use it."""

    def catch(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Caught(parser)

    module, _, function = where.partition(":")
    program = getattr(importlib.import_module(module), function)
    with patch.object(argparse.ArgumentParser, "parse_args", catch):
        try:
            program([])
        except _Caught as caught:
            parser = caught.args[0]
            assert isinstance(parser, argparse.ArgumentParser)
            return parser
    raise LookupError(f"{where} makes no parser")


class Options(Written):
    """``.. spalloc-options:: module:function``."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """Write synopsis, description, options by group, and what the parser says last."""
        parser = parser_of(self.arguments[0])
        yield from ("Synopsis", "--------", "", "::", "")
        yield from (f"    {line}" for line in _usage(parser))
        yield from ("", "Description", "-----------", "", _plain(parser.description), "")
        yield from self._groups(parser)
        for name, sub in _sub_commands(parser):
            title = f"{parser.prog} {name}"
            yield from ("", title, "-" * len(title), "", "::", "")
            yield from (f"    {line}" for line in _usage(sub))
            yield from ("", _plain(sub.description), "")
            yield from self._groups(sub)
            if sub.epilog:
                yield from ("", _plain(sub.epilog), "")
        if parser.epilog:
            yield from ("", "Notes", "-----", "")
            if parser.formatter_class is argparse.RawDescriptionHelpFormatter:
                yield from ("::", "", *(f"    {line}" for line in parser.epilog.splitlines()))
            else:
                yield _plain(parser.epilog)
        yield ""

    @staticmethod
    def _groups(parser: argparse.ArgumentParser) -> Iterator[str]:
        for group in parser._action_groups:
            actions = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
            actions = [a for a in actions if not isinstance(a, argparse._SubParsersAction)]
            if not actions:
                continue
            title = (group.title or "options").capitalize()
            yield from ("", f"**{title}**", "")
            if group.description:
                yield from (_plain(group.description), "")
            for action in actions:
                yield _names(action)
                yield from (f"    {_help(parser, action)}", "")


def _usage(parser: argparse.ArgumentParser) -> list[str]:
    prefix = "usage: "
    lines = parser.format_usage().removeprefix(prefix).rstrip().splitlines()
    return [line.removeprefix(" " * len(prefix)) for line in lines]


def _sub_commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"``{action.metavar or action.dest}``"
    argument = ""
    if action.nargs != 0:
        metavar = action.metavar or "|".join(map(str, action.choices or [action.dest.upper()]))
        names = metavar if isinstance(metavar, str) else " ".join(metavar)
        argument = f" {names}"
    return ", ".join(f"``{name}{argument}``" for name in action.option_strings)


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = {**vars(action), "prog": parser.prog}
    return _plain((action.help or "") % values)


def _plain(text: str | None) -> str:
    """Return text in which reStructuredText finds nothing special but `code`."""
    words, *more = " ".join((text or "").split()).split("`")
    written = _escaped(words)
    for number, part in enumerate(more):
        # Every second part stood between backquotes, where nothing needs to be escaped.
        written += f"``{part}``" if number % 2 == 0 else _escaped(part)
    return written


def _escaped(text: str) -> str:
    for special in "\\*|_":
        text = text.replace(special, f"\\{special}")
    return text


# --- the protocol ---


class Protocol(Written):
    """All commands, in the order in which they are defined."""

    def lines(self) -> Iterator[str]:
        """Write a section for each."""
        for name, method in _COMMANDS.items():
            title = f"{name}{_arguments(method)}"
            yield from (f".. _command-{name}:", "", title, "^" * len(title), "")
            yield from (inspect.getdoc(method) or "").replace("`", "``").splitlines()
            yield from ("", ".. code-block:: text", "")
            yield from (f"    {line}" for line in shown_lines(name))
            yield ""


def _arguments(method: Any) -> str:
    parameters = list(inspect.signature(method).parameters.values())[2:]
    return "({})".format(", ".join(_argument(each) for each in parameters)).replace("*", r"\*")


def _argument(parameter: inspect.Parameter) -> str:
    prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is parameter.empty else "=null"
    return f"{prefix}{parameter.name}{default}"


def shown_lines(command: str) -> list[str]:
    """Return the lines of a command's example that readers see; see ``exchanges/README``."""
    lines = (DOCS / "exchanges" / f"{command}.txt").read_text(encoding="utf-8").splitlines()
    if "---" in lines:
        lines = lines[lines.index("---") + 1 :]
    return [line for line in lines if line.startswith(("> ", "< "))]


# --- tables ---


def table(header: tuple[str, ...], rows: Iterable[Iterable[str]], widths: str) -> Iterator[str]:
    """Write a table."""
    yield from (".. list-table::", "    :header-rows: 1", f"    :widths: {widths}", "")
    for row in (header, *rows):
        for number, cell in enumerate(row):
            yield f"    {'* -' if number == 0 else '  -'} {cell}"
    yield ""


class Metrics(Written):
    """What ``/metrics`` shows."""

    def lines(self) -> Iterator[str]:
        """Write a row for each metric."""
        rows = ((f"``{m.name}``", m.kind, ", ".join(m.labels), _plain(m.help)) for m in METRICS)
        yield from table(("Name", "Kind", "Labels", "Meaning"), rows, "38 10 17 35")


class Panels(Written):
    """The dashboard: its panels and the metrics that each is drawn from."""

    def lines(self) -> Iterator[str]:
        """Write a row for each panel."""
        dashboard = json.loads((DOCS.parent / "contrib" / "grafana" / "spalloc.json").read_text())
        rows = (
            (
                panel["title"],
                ", ".join(
                    f"``{name}``"
                    for name in dict.fromkeys(
                        re.sub(r"_(bucket|sum|count)$", "", name)
                        for target in panel["targets"]
                        for name in re.findall(r"\b(?:spalloc|process)_\w+", target["expr"])
                    )
                ),
            )
            for panel in dashboard["panels"]
        )
        yield from table(("Panel", "Drawn from"), rows, "40 60")


class Outcomes(Written):
    """What the journal's records say."""

    def lines(self) -> Iterator[str]:
        """Write a row for each kind of outcome."""
        rows = []
        for kind, writer in book._WRITERS.items():
            names = list(inspect.signature(writer).parameters)[1:]
            rows.append((f"``{kind}``", ", ".join(f"``{name}``" for name in names)))
        yield from table(("Outcome", "Its parts"), rows, "30 70")


class CrashPoints(Written):
    """Where tests kill the server."""

    def lines(self) -> Iterator[str]:
        """Write a row for each point."""
        rows = ((f"``{name}``", f"{what}.") for name, what in POINTS.items())
        yield from table(("Point", "What has just happened"), rows, "30 70")


class Access(Written):
    """The effect of each command for each class of access."""

    def lines(self) -> Iterator[str]:
        """Write a row for each command."""
        rows = ((f"``{name}``", *effects) for name, *effects in access_table())
        yield from table(("Command", "deny", "read", "use", "operate"), rows, "32 12 22 22 12")


class Boundaries(Written):
    """Where exceptions of any kind end; the file is compared with the source by a test."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """Write a row for each boundary."""
        with (DOCS / self.arguments[0]).open(encoding="utf-8", newline="") as file:
            rows = [(f"``{where}``", _plain(why)) for where, why in list(csv.reader(file))[1:]]
        yield from table(("Where", "Whose fault must not become whose"), rows, "45 55")


# --- diagrams ---


class Diagram(Directive):
    """A picture in characters."""

    def picture(self) -> Iterator[str]:
        """Return its lines."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Make it a literal block."""
        text = "\n".join(self.picture())
        return [nodes.literal_block(text, text, language="none")]


class Layers(Diagram):
    """The packages and the modules of the top folder, each with its imports from the source."""

    def picture(self) -> Iterator[str]:
        """Draw a row for each, top of the program first; a number counts a package's modules."""
        package = Path(spalloc_server.__file__).parent
        with (DOCS / "layers.csv").open(encoding="utf-8", newline="") as file:
            names = [name for name, _ in list(csv.reader(file))[1:]]
        modules: dict[str, int] = dict.fromkeys(names, 0)
        arrows: dict[str, set[str]] = {name: set() for name in names}
        for path in package.rglob("*.py"):
            place = path.relative_to(package).with_suffix("").parts[0]
            modules[place] = modules.get(place, 0) + 1
            arrows.setdefault(place, set()).update(_places_imported(path) - {place})
        for name in reversed(names):
            count = f" ({modules[name]})" if modules[name] > 1 else ""
            below = ", ".join(each for each in reversed(names) if each in arrows[name])
            lines = textwrap.wrap(below, 46, break_long_words=False) or [""]
            yield f"{name + count:24} -> {lines[0]}" if below else name
            yield from (" " * 28 + line for line in lines[1:])


def _places_imported(path: Path) -> set[str]:
    """Modules of the top folder and packages from which a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "spalloc_server":
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            root, _, rest = node.module.partition(".")
            if root == "spalloc_server":
                found.add(rest.partition(".")[0])
    return found - {"__version__"}


class JobStates(Diagram):
    """The life of a job."""

    def picture(self) -> Iterator[str]:
        """Draw the states with the numbers of the protocol."""
        s = {state.name: f"{state.name} ({state.value})" for state in JobState}
        yield f"create_job --> {s['queued']} --boards--> {s['power']} --all frames--> {s['ready']}"
        yield "                  ^                      |  ^                    |"
        yield "                  |   a board failed     |  |    power_on/off    |"
        yield "                  '----------------------'  '--------------------'"
        yield ""
        yield f"any of these --destroyed, timed out, failed--> {s['destroyed']}"
        yield f"{s['destroyed']} --max_retired_jobs newer ones have ended--> {s['unknown']}"


def setup(app: Any) -> dict[str, bool]:
    """Register the directives with Sphinx."""
    for name, directive in {
        "spalloc-options": Options,
        "spalloc-protocol": Protocol,
        "spalloc-metrics": Metrics,
        "spalloc-panels": Panels,
        "spalloc-outcomes": Outcomes,
        "spalloc-crash-points": CrashPoints,
        "spalloc-access": Access,
        "spalloc-boundaries": Boundaries,
        "spalloc-layers": Layers,
        "spalloc-job-states": JobStates,
    }.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
