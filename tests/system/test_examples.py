"""Every example can be used as it stands."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from spalloc_server._configuration_file import load_configuration, run_configuration
from spalloc_server._programs.check import findings, repeated_entries

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
FILES = sorted(path.name for path in EXAMPLES.glob("*.cfg"))

#: Triads in each direction, live boards and frames of each machine.
SIZES = {
    "single-board.cfg": {"spin5": (1, 1, 1, 1)},
    "desk-3-boards.cfg": {"desk": (1, 1, 3, 3)},
    "frame-24-boards.cfg": {"frame": (4, 2, 24, 1)},
    "million-cores.cfg": {"million": (20, 20, 1200, 50)},
    "several-machines.cfg": {
        "frame-a": (4, 2, 24, 1),
        "frame-b": (4, 2, 22, 1),
        "test-board": (1, 1, 1, 1),
    },
}


@pytest.mark.parametrize("name", FILES)
def test_an_example_loads_and_nothing_is_wrong_with_it(name: str) -> None:
    file = EXAMPLES / name

    configuration = load_configuration(file)

    assert findings(configuration, resolve=lambda host: host) == []
    assert repeated_entries(file.read_text()) == []


@pytest.mark.parametrize("name", SIZES)
def test_an_example_is_what_it_says(name: str) -> None:
    machines = load_configuration(EXAMPLES / name).machines

    assert {
        m.name: (m.width, m.height, m.width * m.height * 3 - len(m.dead_boards), len(m.bmp_ips))
        for m in machines
    } == SIZES[name]


def test_the_frames_of_the_million_cores_are_full() -> None:
    (machine,) = load_configuration(EXAMPLES / "million-cores.cfg").machines

    assert set(machine.board_locations.values()) == {
        (cabinet, frame, board)
        for cabinet in range(10)
        for frame in range(5)
        for board in range(24)
    }
    assert machine.bmp_ips[9, 4] == "10.11.241.0"
    assert machine.spinnaker_ips[19, 19, 2] == "10.11.241.185"


def test_an_example_sets_the_durability() -> None:
    file = EXAMPLES / "several-machines.cfg"

    assert run_configuration(file.read_text(), file).settings.durability == "process"


def test_the_spinner_file_is_what_its_script_writes() -> None:
    script = str(EXAMPLES / "million-cores-csv.py")

    written = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert written.stdout == (EXAMPLES / "million-cores.csv").read_text()
    assert "write" in runpy.run_path(script)
