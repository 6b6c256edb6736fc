"""Our commands, run in this process as a shell would run them."""

from collections.abc import Callable

import pytest
from spalloc_client.scripts import alloc, job, machine, ps, where_is

MAINS: dict[str, Callable[[list[str]], int]] = {
    "spalloc": alloc.main,
    "spalloc-ps": ps.main,
    "spalloc-machine": machine.main,
    "spalloc-job": job.main,
    "spalloc-where-is": where_is.main,
}

#: Takes a line, and words that must not be split; gives status, output and errors.
Run = Callable[..., tuple[int, str, str]]


def runner(hostname: str, port: int, capture: pytest.CaptureFixture[str]) -> Run:
    """Make a function that runs commands against a server."""

    def run(line: str, *more: str) -> tuple[int, str, str]:
        name, *words = line.split()
        status = MAINS[name](["-H", hostname, "-P", str(port), *words, *more])
        return status, *capture.readouterr()

    return run
