"""The client's explanation of a refusal is the server's own judgement.

The client works out by itself which limit excludes a machine.  It imports nothing of the
server's, so that the two are compared here.
"""

import importlib
import random
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server.allocator import Allocator
from spalloc_server.links import Links

CLIENT = Path(__file__).parent.parent.parent / "client"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the client by its name."""
    monkeypatch.syspath_prepend(str(CLIENT))
    return lambda name: importlib.import_module(f"spalloc_client.{name}")


def faults(chance: random.Random, width: int, height: int) -> tuple[Any, Any]:
    """Dead boards and links, few or many."""
    boards = [(x, y, z) for x in range(width) for y in range(height) for z in range(3)]
    dead = chance.sample(boards, chance.randint(0, len(boards) // chance.choice([3, 6, 20])))
    links = [
        (*chance.choice(boards), Links(chance.randrange(6)))
        for _ in range(chance.choice([0, 0, 1, 2, 5, 20]))
    ]
    return frozenset(dead), frozenset(links)


def request(chance: random.Random, width: int, height: int) -> tuple[tuple[int, ...], Any]:
    """Numbers and limits."""
    limits: dict[str, Any] = {
        "max_dead_boards": chance.choice([None, 0, 1, 3]),
        "max_dead_links": chance.choice([None, 0, 1, 3]),
        "require_torus": chance.random() < 0.3,
    }
    if chance.random() < 0.4:
        return (chance.randint(1, width + 1), chance.randint(1, height + 1)), limits
    limits["min_ratio"] = chance.choice([0.0, 0.333, 0.5, 0.9])
    return (chance.randint(2, 3 * width * height + 1),), limits


@pytest.mark.parametrize(
    ("kind", "scheduling"), [(Allocator, "fcfs"), (GridAllocator, "overtaking")]
)
@pytest.mark.parametrize("seed", range(4))
def test_a_limit_is_blamed_if_and_only_if_the_server_refuses(
    client: Any, kind: Any, scheduling: str, seed: int
) -> None:
    chance = random.Random(seed)
    fit, answers, requests = client("_fit"), client("_answers"), client("_request")
    told = []
    for _ in range(150):
        width, height = chance.randint(1, 5), chance.randint(1, 5)
        dead_boards, dead_links = faults(chance, width, height)
        allocator = kind(width, height, dead_boards=dead_boards, dead_links=dead_links)
        machine = answers.MachineRow(
            "m", frozenset({"default"}), width, height, dead_boards, dead_links
        )
        for _ in range(4):
            numbers, limits = request(chance, width, height)

            possible = allocator.alloc_possible(*numbers, **limits)
            reason = fit.why_not(machine, requests.Request(numbers, **limits), scheduling)

            assert possible == (reason is None), (machine, numbers, limits, reason)
            told.append(possible)

    assert 100 < sum(told) < 500  # both answers came often
