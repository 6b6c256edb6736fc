"""Every example is served on simulated frames, and boards can be had of all its machines."""

from pathlib import Path

import pytest

from spalloc_server.controller import JobState
from tests.support.simulated_server import EXAMPLES, Client, copy_of_example, simulated_server

FILES = sorted(path.name for path in EXAMPLES.glob("*.cfg"))


@pytest.mark.parametrize("name", FILES)
def test_boards_can_be_had_of_every_machine(name: str, tmp_path: Path) -> None:
    config = copy_of_example(name, tmp_path)

    with simulated_server(config) as server, Client(server.port) as client:
        machines = client.call("list_machines")
        assert machines
        for machine in machines:
            job_id = client.call("create_job", owner="me", machine=machine["name"])
            client.wait_until(job_id, JobState.ready)
            info = client.call("get_job_machine_info", job_id)
            assert info["machine_name"] == machine["name"]
            assert len(info["boards"]) == len(info["connections"]) == 1


@pytest.mark.parametrize(
    ("name", "what", "boards", "size"),
    [
        ("desk-3-boards.cfg", (3,), 3, (12, 12)),
        ("frame-24-boards.cfg", (4, 2), 24, (48, 24)),
        ("million-cores.cfg", (20, 20), 1200, (240, 240)),
    ],
)
def test_a_whole_machine_can_be_had(
    name: str, what: tuple[int, ...], boards: int, size: tuple[int, int], tmp_path: Path
) -> None:
    config = copy_of_example(name, tmp_path)

    with simulated_server(config) as server, Client(server.port) as client:
        job_id = client.call("create_job", *what, owner="me", max_dead_boards=0)
        client.wait_until(job_id, JobState.ready)
        info = client.call("get_job_machine_info", job_id)

    assert len(info["boards"]) == boards
    assert (info["width"], info["height"]) == size
