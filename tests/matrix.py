"""Both distributions, built and tried with every Python that is found.

Run as ``python -m tests.matrix`` (see ``make test-all``): builds wheel and sdist of server and
client, then, for each version of Python in `VERSIONS` that this computer has, makes an empty
virtual environment, installs the wheels there, and runs the tests that come with the sdists
against what is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
ROOT = Path(__file__).parent.parent
#: {distribution's file name: (where it is built, the packages it installs)}.
DISTRIBUTIONS = {
    "spalloc_server": (".", ("spalloc_server",)),
    "spalloc_client": ("client", ("spalloc_client", "spalloc")),
}
#: Tests that need the repository: they build the project, or run the client against the server
#: (and the original one) from environments that the Makefile makes.
OF_THE_REPOSITORY = (
    "--ignore=tests/test_packaging.py",
    "--ignore=tests/test_real_servers.py",
    "--ignore=tests/test_original_server.py",
)


def interpreters() -> dict[str, Path]:
    """Return an interpreter for each version that is found: on the path, or of pyenv."""
    found: dict[str, Path] = {}
    for candidate in _candidates():
        version = _version(candidate)
        if version in VERSIONS:
            found.setdefault(version, candidate)
    return dict(sorted(found.items(), key=lambda each: VERSIONS.index(each[0])))


def _candidates() -> Iterator[Path]:
    for name in (*(f"python{version}" for version in VERSIONS), "python3"):
        path = shutil.which(name)
        if path is not None:
            yield Path(path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob("versions/*/bin/python3"))
    yield Path(sys.executable)


def _version(interpreter: Path) -> str | None:
    # A shim may be there without the version that it stands for.
    asked = subprocess.run(
        [interpreter, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() if asked.returncode == 0 else None


def build(into: Path) -> None:
    """Build wheel and sdist of both distributions; the wheel is made from the sdist."""
    for folder, _ in DISTRIBUTIONS.values():
        _run([sys.executable, "-m", "build", "-q", "--outdir", into, ROOT / folder])


def try_out(version: str, interpreter: Path, dist: Path, work: Path) -> bool:
    """Install both distributions in an empty environment; returns whether their tests pass."""
    environment = work / f"venv-{version}"
    _run([interpreter, "-m", "venv", environment])
    python = environment / "bin" / "python"
    wheels = [f"{next(dist.glob(f'{name}-*.whl'))}[test]" for name in DISTRIBUTIONS]
    _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wheels])
    # Each of them, whatever came of the one before.
    passed = [_tests(python, name, dist, work / version) for name in DISTRIBUTIONS]
    return all(passed)


def _tests(python: Path, name: str, dist: Path, work: Path) -> bool:
    """Run a distribution's tests on what is installed, its own sources put out of the way."""
    with tarfile.open(next(dist.glob(f"{name}-*.tar.gz"))) as archive:
        archive.extractall(work, filter="data")
    (unpacked,) = work.glob(f"{name}-*")
    for package in DISTRIBUTIONS[name][1]:
        shutil.rmtree(unpacked / package)
    tests = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *OF_THE_REPOSITORY],
        cwd=unpacked,
        check=False,
    )
    return tests.returncode == 0


def _run(command: list[str | Path]) -> None:
    print("$", *command, flush=True)
    subprocess.run(command, check=True)


def main() -> int:
    """Build, try with each interpreter, sum up; returns 1 if anything failed."""
    found = interpreters()
    print("found", ", ".join(f"{version}: {path}" for version, path in found.items()), flush=True)
    results = {}
    with tempfile.TemporaryDirectory(prefix="spalloc-matrix-") as folder:
        work = Path(folder)
        build(work / "dist")
        for version, interpreter in found.items():
            results[version] = try_out(version, interpreter, work / "dist", work)
    for version in VERSIONS:
        outcome = {True: "passed", False: "FAILED", None: "not found"}[results.get(version)]
        print(f"Python {version}: {outcome}")
    return 0 if results and all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
