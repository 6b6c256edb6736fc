import io

from rich.console import Console
from rich.text import Text
from spalloc_client._answers import JobRow
from spalloc_client._tables import Column, Lettering, jobs_table, letters, make_table
from spalloc_client._terminal import draws_unicode, make_console, plain, show
from spalloc_client._text import clean
from spalloc_client.states import JobState

JOBS = [
    JobRow(7, "ann@example.org", 0.0, 60.0, JobState.ready, True, (1,), {}, "m", [(0, 0, 0)], "h"),
    JobRow(123, "[b]\x1b[31mbob", None, None, JobState.queued, None, (2, 2), {}, None, None, ""),
]


def render(width: int, encoding: str = "utf-8") -> list[str]:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding, errors="strict")
    console = Console(file=stream, width=width, color_system=None, markup=False)
    show(console, jobs_table(console, JOBS))
    stream.flush()
    return buffer.getvalue().decode(encoding).splitlines()


def test_jobs_make_a_table() -> None:
    assert render(1000) == [
        " ID  State   Power  Boards  Machine  Created at               Keepalive  Owner (Host)",
        "  7  ready   on          1  m        1970-01-01 00:00:00 UTC       60 s  ann@example.org (h)",  # noqa: E501
        "123  queued             12                                        never  [b]\\x1b[31mbob",
    ]


def test_a_narrow_table_gives_up_what_it_can() -> None:
    assert render(70) == [
        " ID State  Power Boards Machine Created at      Keepalive Owner (Host)",
        "  7 ready  on         1 m       01-01 00:00 UTC      60 s ann@example…",
        "123 queued           12                             never [b]\\x1b[31m…",
    ]


def test_a_table_too_narrow_for_all_columns_leaves_some_out() -> None:
    assert render(50) == [
        " ID State  Power Boards Machine Owner (Host)",
        "  7 ready  on         1 m       ann@example.org (…",
        "123 queued           12         [b]\\x1b[31mbob",
    ]
    assert render(40) == [
        " ID State  Power Boards Machine Owner (…",
        "  7 ready  on         1 m       ann@exa…",
        "123 queued           12         [b]\\x1b…",
    ]
    assert render(24) == [
        " ID State  Boards Owner…",
        "  7 ready       1 ann@e…",
        "123 queued     12 [b]\\x…",
    ]
    assert render(10) == [
        " ID Owner…",
        "  7 ann@e…",
        "123 [b]\\x…",
    ]


def test_without_unicode_nothing_needs_it() -> None:
    assert "ann@example" in render(70, "ascii")[1]


def test_columns_are_never_wider_than_the_table() -> None:
    console = Console(file=io.StringIO(), width=30)
    columns = [Column("Name", elastic=True), Column("N", "right"), Column("Tags", elastic=True)]
    with console.capture() as capture:
        console.print(make_table(console, columns, [("n" * 50, Text("5"), "t" * 50)]))

    assert all(len(line) <= 30 for line in capture.get().splitlines())


def test_letters_go_on_after_z() -> None:
    assert [letters(n) for n in (0, 25, 26, 51, 52, 53, 104)] == [
        "A",
        "Z",
        "a",
        "z",
        "AA",
        "AB",
        "BA",
    ]
    assert len({letters(number) for number in range(3000)}) == 3000


def test_jobs_keep_their_letters() -> None:
    lettering = Lettering()

    assert lettering.assign([5, 3]) == {3: 0, 5: 1}
    assert lettering.assign([5]) == {5: 1}
    assert lettering.assign([5, 9, 10]) == {5: 1, 9: 0, 10: 2}


def test_what_does_not_print_is_escaped() -> None:
    assert clean("a\x1b[0m\n\u202eb\\ü") == "a\\x1b[0m\\n\\u202eb\\ü"
    assert plain("[red]x").plain == "[red]x"


def test_a_pipe_gets_neither_colours_nor_lines_of_unicode() -> None:
    console = make_console(io.StringIO())

    assert not console.is_terminal
    assert not draws_unicode(console)
    show(console, Text("x" * 500, "red"))
    assert console.file.getvalue() == "x" * 500 + "\n"  # type: ignore[attr-defined]


def test_columns_that_are_all_needed_stay_and_are_cut() -> None:
    console = Console(file=io.StringIO(), width=9, color_system=None, markup=False)

    show(console, make_table(console, [Column("Name"), Column("Place")], [["abcdef", "ghijkl"]]))

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == ["Name Pla…", "abc… ghi…"]
