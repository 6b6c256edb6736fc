"""What is recovered from the outcomes is what was, whatever happened."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.recovery_life import INPUTS, comparable, random_life

_LIVES = int(os.environ.get("RECOVERY_LIVES", "60"))
_SEED = os.environ.get("RECOVERY_SEED", "20261121")
_INPUTS_PER_LIFE = 150


def test_a_recovered_controller_knows_what_the_live_one_knew() -> None:
    lives = [random_life(f"{_SEED}-{n}", _INPUTS_PER_LIFE) for n in range(_LIVES)]

    written = [comparable(life.book) for life in lives]
    recovered = _recover_elsewhere([json.dumps(life.book) for life in lives])

    counts: Counter[str] = Counter()
    for life, book, again in zip(lives, written, recovered, strict=True):
        known = comparable(life.final)  # type: ignore[attr-defined]
        assert book == known
        assert comparable(again) == known
        counts += life.counts
    print(f"seed {_SEED}, {_LIVES} lives:", dict(sorted(counts.items())))
    assert all(counts[name] for name in INPUTS)


def _recover_elsewhere(books: list[str]) -> list[object]:
    """Recover in another process, whose sets are in another order."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.recovery_life"],
        input="".join(f"{book}\n" for book in books),
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
