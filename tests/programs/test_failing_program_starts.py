"""Each system call of a start fails once, in a process of its own.

The calls are failed by an audit hook, which cannot be taken away again.  Beside it, Python refuses
to trace two threads that start at the same time, so nothing is measured there.
"""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).with_name("failing_program_starts.py")


def test_starts_whose_calls_fail_end_with_words_or_serve() -> None:
    unmeasured = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("COV", "PYTEST_"))
    }  # fmt: skip
    options = ["-q", "--no-cov", "-p", "no:cacheprovider", "-p", "no:xdist"]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(TESTS)],
        cwd=TESTS.parents[2],
        env=unmeasured,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
