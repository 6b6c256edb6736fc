"""What every test module shares."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from spalloc_server import async_bmp_controller

# `make test` must give the same answer every time; `make soak` looks further.
settings.register_profile("test", derandomize=True, database=None, deadline=None)
settings.register_profile("soak", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


# A shell has what it runs in the background ignore SIGINT, nohup has it ignore SIGHUP, and so
# would all that tests start; those that are about that see to it themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    """Each test joins what it started."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and t.is_alive()]
    assert not left, f"threads left behind: {left}"


@pytest.fixture(autouse=True, scope="session")
def frames_begin_at_once() -> Iterator[None]:
    """No test of this process waits for requests that might come; tests of that wait say so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(async_bmp_controller, "_SECONDS_TO_GATHER", 0.0)
        yield
