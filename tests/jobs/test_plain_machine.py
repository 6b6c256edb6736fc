"""Machines as plain builtins."""

import json

import pytest

from spalloc_server._jobs.plain_machine import from_plain, to_plain
from spalloc_server.configuration import Machine
from spalloc_server.links import Links
from tests.support.machines import machine


@pytest.mark.parametrize(
    "original",
    [
        machine("m", 3, 2, boards_per_frame=6, dead_boards={(0, 0, 1)}),
        machine("n", 1, 1, tags=[], dead_links={(0, 0, 0, Links.south)}),
        Machine.single_board("s", bmp_ip="b", spinnaker_ip="s"),
    ],
)
def test_a_machine_survives_json(original: Machine) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(original)))) == original
