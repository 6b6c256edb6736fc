"""The script that counts how easily the source is read."""

from pathlib import Path

import pytest

from tests.support import house

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "spalloc_server" / "_inner").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.rst").write_text("Boards rest for 30 s.\n")
    (tmp_path / "spalloc_server" / "__init__.py").write_text('"""Shares boards."""\n')
    return tmp_path


def write(checkout: Path, name: str, text: str) -> None:
    (checkout / "spalloc_server" / name).write_text(text)


def test_prose_is_counted_by_its_readers(checkout: Path) -> None:
    write(
        checkout,
        "public.py",
        '"""Tell who asked."""\n'
        "# whatever is here\n"
        "def shown() -> None:\n"
        '    """Say what waits."""\n'
        '    raise ValueError("whose is it?")\n'
        "def _hidden() -> None:\n"
        '    """Say what waits."""\n'
        '    log.warning("what now?")\n',
    )

    found = house.measure(checkout)

    assert found.overall.free_relatives == 4
    assert found.public.free_relatives == 2
    assert found.errors_and_logs == house.Count(words=5, free_relatives=2)
    assert found.manual == house.Count(words=5, free_relatives=0)
    assert found.errors_and_logs.rate == 400


def test_modules_of_the_top_folder_are_counted_without_those_of_packages(checkout: Path) -> None:
    write(checkout, "a.py", "")
    write(checkout, "_inner/b.py", "")

    assert house.measure(checkout).top_modules == 2


def test_a_circle_through_an_import_for_type_checkers_is_found(checkout: Path) -> None:
    write(checkout, "a.py", "from spalloc_server._inner import b\n")
    write(
        checkout,
        "_inner/b.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import spalloc_server.a\n",
    )

    assert house.measure(checkout).circles == [["spalloc_server._inner.b", "spalloc_server.a"]]


def test_modules_and_functions_that_are_too_long_are_named(checkout: Path) -> None:
    write(checkout, "a.py", "def f():\n" + "    pass\n" * house.MAX_FUNCTION_LINES)
    write(checkout, "b.py", "def g():\n" + "    pass\n" * (house.MAX_FUNCTION_LINES + 1))
    write(checkout, "c.py", "#\n" * house.MAX_MODULE_LINES)
    write(checkout, "d.py", "#\n" * (house.MAX_MODULE_LINES + 1))

    assert house.measure(checkout).faults() == [
        "spalloc_server.b.g has 61 lines, 60 may be",
        "spalloc_server.d has 601 lines, 600 may be",
    ]


def test_figures_that_are_too_large_are_faults(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.main([str(checkout)]) == 0

    for number in range(house.MAX_TOP_MODULES):
        write(checkout, f"m{number}.py", '"""What it was."""\n')

    assert house.main([str(checkout)]) == 1
    told = capsys.readouterr().out
    assert "too much: 21 modules in the top folder, 20 may be" in told
    assert "free relatives in 1,000 words of public docstrings" in told


def test_this_repository_keeps_its_shape() -> None:
    assert house.measure(REPOSITORY).faults() == []
