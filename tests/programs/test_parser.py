"""Options stand where their user likes."""

import itertools
from typing import Any

import pytest

from spalloc_server._programs.parser import Parser


@pytest.fixture
def parser() -> Parser:
    """Arguments of all kinds: one, one that may be left out, many; and options."""
    parser = Parser(prog="p")
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("action", nargs="?", choices=("list", "add"), default="list")
    parser.add_argument("numbers", nargs="*", type=int, default=[], metavar="N")
    parser.add_argument("--reason", metavar="TEXT")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tags", nargs="*")
    return parser


def test_options_stand_anywhere(parser: Parser) -> None:
    words = ["c", "add", "1", "2"]
    expected = parser.parse_args(["--reason", "x y", "--json", *words])

    for first, second in itertools.product(range(5), repeat=2):
        line: list[list[str]] = [[word] for word in words]
        line.insert(first, ["--reason", "x y"])
        line.insert(second, ["--json"])

        assert parser.parse_args(list(itertools.chain(*line))) == expected

    assert vars(expected) == {
        "config": "c",
        "action": "add",
        "numbers": [1, 2],
        "reason": "x y",
        "json": True,
        "tags": None,
    }


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("c", {"config": "c"}),
        ("--json c", {"config": "c", "json": True}),
        ("-- --json add", {"config": "--json", "action": "add"}),
        ("--json -- -h", {"config": "-h", "json": True}),
        ("c --tags a b -- add 3", {"config": "c", "tags": ["a", "b"], "action": "add"}),
        ("c add --json -5 6", {"config": "c", "action": "add", "numbers": [-5, 6]}),
        ("c --js", {"config": "c", "json": True}),
        ("- --reason=-x", {"config": "-", "reason": "-x"}),
    ],
)
def test_what_is_an_option_and_what_is_none(
    parser: Parser, line: str, given: dict[str, Any]
) -> None:
    options = vars(parser.parse_args(line.split()))

    assert {name: options[name] for name in given} == given


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("", "the following arguments are required: CONFIG"),
        ("c --frob add", "unrecognized arguments: --frob\n"),
        ("c --frob -x add", "unrecognized arguments: --frob -x\n"),
        # Not the words behind them, which are none of the choices.
        ("c --reson x add", "unrecognized arguments: --reson; did you mean --reason?"),
        ("c add --jsn=3", "unrecognized arguments: --jsn; did you mean --json?"),
        ("c drop --json", "argument action: invalid choice: 'drop'"),
        ("c add --json x", "argument N: invalid int value: 'x'"),
        ("c --reason", "argument --reason: expected one argument"),
    ],
)
def test_wrong_lines_are_refused_with_the_whole_usage(
    parser: Parser, line: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(line.split())

    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: p [-h] [--reason TEXT]")
    assert "CONFIG" in said.partition("error:")[0]
    assert error in said


def test_the_help_tells_of_all_arguments(
    parser: Parser, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = parser.format_help()

    with pytest.raises(SystemExit):
        parser.parse_args(["c", "--help"])

    assert capsys.readouterr().out == expected
    assert "CONFIG" in expected


def test_an_unknown_option_of_a_subcommand_is_met_by_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = Parser(prog="p")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser("usage").add_argument("--until")

    for line, error in (
        (
            "usage --untill x",
            "p usage: error: unrecognized arguments: --untill; did you mean --until?",
        ),
        ("--verson usage", "p: error: unrecognized arguments: --verson; did you mean --version?"),
        ("usage more", "p: error: unrecognized arguments: more"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(line.split())

        assert capsys.readouterr().err.splitlines()[-1] == error
