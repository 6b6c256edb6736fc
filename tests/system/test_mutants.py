"""The script that changes the source to see whether tests notice."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.line_tests import LineTests
from tests.support.mutants import (
    FIRST,
    MOST,
    PACKAGES,
    READERS,
    Log,
    Mutant,
    _pass,
    lines_of_types,
    runs_of,
)

ROOT = Path(__file__).parents[2]
MODULE = Path("spalloc_server/_saved/journal.py")
OWN = "tests/saved/test_journal.py"


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, text in ((MODULE, "def write():\n    return 1\n"), (Path(OWN), "")):
        path.parent.mkdir(parents=True)
        path.write_text(text)


def known(*tests: str, seconds: float = 1.0) -> LineTests:
    return LineTests({str(MODULE): {2: tests}}, dict.fromkeys(tests, seconds))


def test_the_tests_of_the_modules_own_file_come_first_then_those_of_the_line() -> None:
    found = runs_of(MODULE, 2, known(f"{OWN}::test_a", "tests/wire/test_b.py::test_b"))

    assert found == [[OWN], ["tests/wire/test_b.py::test_b"]]


def test_tests_of_the_modules_own_file_that_do_not_run_the_line_are_left_out() -> None:
    tests = {f"{OWN}::test_{name}": 1.0 for name in "ab"}
    record = LineTests({str(MODULE): {2: [f"{OWN}::test_a"]}}, tests)

    assert runs_of(MODULE, 2, record) == [[OWN, f"--deselect={OWN}::test_b"]]


def test_many_tests_of_a_line_are_run_in_two_parts_those_of_other_packages_last() -> None:
    tests = [f"tests/saved/test_b.py::test_{n:03}" for n in range(FIRST + 2)]
    other = "tests/jobs/test_c.py::test_c"

    found = runs_of(MODULE, 2, known(*tests, other, seconds=0.1))

    assert found == [[OWN], tests[:FIRST], tests[FIRST:], [other]]


def test_slow_tests_are_left_out_after_some_time_those_of_other_packages_first() -> None:
    near = [f"tests/saved/test_b.py::test_{n}" for n in range(3)]
    far = [f"tests/wire/test_b.py::test_{n}" for n in range(5)]

    assert runs_of(MODULE, 2, known(*near, *far, seconds=MOST / 4.5)) == [[OWN], near, far[:1]]
    assert runs_of(MODULE, 2, known(*near, *far, seconds=MOST / 2.5)) == [[OWN], near[:2]]


def test_a_constant_of_a_module_without_known_tests_is_shown_to_its_packages_folder() -> None:
    unknown = MODULE.with_name("table.py")
    unknown.write_text("TABLE = 1\n")

    assert runs_of(unknown, 1, LineTests({}, {})) == [[READERS], ["tests/saved"]]


def test_every_package_has_tests() -> None:
    for package in PACKAGES:
        assert list((ROOT / "tests" / package.strip("_")).glob("test_*.py")), package


def test_lines_for_type_checkers_are_left_out() -> None:
    source = "if TYPE_CHECKING:\n    import a\n    import b\nif DEBUG:\n    import c\n"

    assert lines_of_types(source) == {1, 2, 3}


def test_a_log_tells_the_next_run_which_mutants_were_tried(tmp_path: Path) -> None:
    def mutant(line: int) -> Mutant:
        return Mutant(MODULE, SimpleNamespace(
            start_pos=(line, 4), operator_name="core/AddNot", occurrence=7,
        ))
    log = Log(tmp_path / "log")
    log.add(mutant(3), alive=True)
    log.add(mutant(5), alive=False)

    assert Log(tmp_path / "log").tried == {
        f"{MODULE}:3:4 AddNot 7": True, f"{MODULE}:5:4 AddNot 7": False,
    }


def test_a_test_that_is_gone_notices_nothing() -> None:
    with pytest.raises(RuntimeError, match="a test of the record is gone"):
        _pass([f"{OWN}::test_nothing"], 120.0)
