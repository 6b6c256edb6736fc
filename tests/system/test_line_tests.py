"""The record of the tests that run a line."""

from pathlib import Path

import pytest
from coverage import CoverageData

from tests.support.line_tests import LINES, TIMES, UNKNOWN, LineTests, load, statement_at

SOURCE = """\
LIMIT = 3

def door(width=7):
    if (width
            > LIMIT):
        return 1
    try:
        pass
    except OSError:
        pass
    return (
        width
    )

class Gate:
    wide = True

    @property
    def width(self):
        return 7
"""


def statement(line: int) -> list[int]:
    return list(statement_at(SOURCE, line))


def test_a_statement_of_a_function_has_all_its_lines() -> None:
    assert statement(12) == [11, 12, 13]


def test_a_statement_with_a_body_has_the_lines_before_the_body() -> None:
    assert statement(5) == [4, 5]


def test_a_line_between_two_bodies_belongs_to_the_whole_statement() -> None:
    assert statement(9) == [7, 8, 9, 10]


def test_a_function_is_run_where_a_line_of_it_is() -> None:
    assert statement(3) == list(range(3, 14))
    assert statement(18) == [19, 20]


def test_no_line_tells_that_an_imported_statement_is_run() -> None:
    assert statement(1) == statement(16) == []


def test_the_tests_of_a_line_come_the_quick_ones_first(tmp_path: Path) -> None:
    module = tmp_path / "door.py"
    module.write_text(SOURCE)
    seconds = {"t.py::slow": 3.0, "t.py::quick": 0.5, "t.py::other": 0.1}
    known = LineTests(
        {str(module): {4: ["t.py::slow", "t.py::quick"], 5: ["t.py::quick"], 6: ["t.py::other"]}},
        seconds,
    )

    assert known.of(module, 5) == ["t.py::quick", "t.py::slow"]
    assert known.of(module, 1) == ["t.py::other", "t.py::quick", "t.py::slow"]
    assert known.of(tmp_path / "door.py", 20) == known.of(module, 1)


def test_a_line_that_has_moved_since_the_record_keeps_its_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = Path("door.py")
    (tmp_path / "then").mkdir()
    (tmp_path / "then" / module).write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    module.write_text('"""A new line."""\n' + SOURCE.replace("return 1", "return 2"))

    lines = {5: ["t.py::a"], 6: ["t.py::b"], 7: ["t.py::c"]}
    known = LineTests({"door.py": lines}, {}, Path("then"))

    assert known.of(module, 6) == ["t.py::a"]
    assert known.of(module, 7) == ["t.py::a", "t.py::b", "t.py::c"], "a line unknown to the record"
    assert known.of(module, 8) == ["t.py::c"]


def test_a_file_of_tests_takes_as_long_as_its_tests() -> None:
    known = LineTests({}, {"t.py::a": 3.0, "t.py::b": 0.0, "u.py::c": 5.0})

    assert known.seconds(["t.py", "t.py::b"]) == 3.0
    assert known.seconds(["new.py"]) == UNKNOWN


def test_a_record_is_read_from_the_files_of_coverage_and_pytest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = Path("spalloc_server/_jobs/a.py")
    monkeypatch.chdir(tmp_path)
    module.parent.mkdir(parents=True)
    module.write_text(SOURCE)
    data = CoverageData(str(tmp_path / LINES))
    data.set_context("tests/jobs/test_a.py::test_b[1]|run")
    data.add_arcs({"/somewhere/spalloc_server/_jobs/a.py": [(-1, 4), (4, 5)]})
    data.set_context("")
    data.add_arcs({"/somewhere/spalloc_server/_jobs/a.py": [(1, 2)]})
    data.write()
    (tmp_path / TIMES).write_text(
        '<testsuites><testsuite><testcase classname="tests.jobs.test_a" name="test_b[1]" '
        'time="0.25"/></testsuite></testsuites>'
    )

    known = load(tmp_path)

    assert known.seconds(["tests/jobs/test_a.py::test_b[1]"]) == 0.25
    assert known.of(module, 5) == ["tests/jobs/test_a.py::test_b[1]"]
