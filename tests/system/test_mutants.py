"""The script that changes the source to see whether tests notice."""

from pathlib import Path

from tests.support.mutants import PACKAGES, suites_of

ROOT = Path(__file__).parents[2]


def test_the_likely_tests_come_first() -> None:
    found = suites_of(Path("spalloc_server/_saved/journal.py"))

    assert found == [["tests/saved/test_journal.py"], ["tests/saved"]]


def test_every_package_has_suites_of_its_own() -> None:
    for package in PACKAGES:
        (folder,) = suites_of(ROOT / "spalloc_server" / package / "no_such_module.py")[-1]
        assert list((ROOT / folder).glob("test_*.py")), package
