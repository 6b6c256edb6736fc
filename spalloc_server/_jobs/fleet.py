"""All frames' threads: those that serve machines, and those that are ending.

Owns how frames' threads begin and end: new ones begin only when those that they replace have
ended.  Which frame serves which part of which machine is in `_jobs.records`.  Knows nothing of
jobs.  Guarded by the controller's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from spalloc_server._jobs import stand_in_frames
from spalloc_server._jobs.stand_in_frames import is_known_to_have_ended
from spalloc_server._places import Frame

if TYPE_CHECKING:
    from spalloc_server._bmp.requests import AtomicRequests
    from spalloc_server._jobs.records import Frames, MachineMap, Records
    from spalloc_server.async_bmp_controller import AsyncBMPController

OnAnsweringChange = Callable[["MachineMap", Frame, bool], None]


class Fleet:
    """The frames' threads.

    Parameters
    ----------
    make : callable
        (host, callable to be called first thing in the thread) → a frame's thread.
    records : Records
        The frames of machines, and the outlet through which all are asked for something.
    """

    def __init__(
        self,
        make: Callable[[str, Callable[[], None]], AsyncBMPController],
        records: Records,
    ) -> None:
        self._frames = records.frames
        self._make = make
        self._outlet = records.outlet
        # Frames that are no longer configured and finish their requests.
        self._draining: list[AsyncBMPController] = []

    @property
    def all(self) -> list[AsyncBMPController]:
        """Every frame that may have something to do, those no longer configured first."""
        return [*self._draining, *(bmp for some in self._frames.values() for bmp in some.values())]

    # --- frames come and go ---

    def start(
        self,
        maps: Mapping[str, MachineMap],
        gate: Gate,
        on_answering_change: OnAnsweringChange,
    ) -> dict[str, Frames]:
        """Start the frames of machines that are to come; all of them or none.

        `on_answering_change` is called as (MachineMap, frame, answering) from the threads of
        those frames that can tell.
        """
        made: dict[str, Frames] = {}
        try:
            for name, where in maps.items():
                made[name] = {}
                for frame, host in where.hosts.items():
                    bmp = self._make(host, gate.wait)
                    made[name][frame] = bmp
                    told = partial(on_answering_change, where, frame)
                    stand_in_frames.watch_answering(bmp, told)
        except BaseException:
            gate.open([])
            _stop(bmp for some in made.values() for bmp in some.values())
            raise
        return made

    def retire(self, old: list[AsyncBMPController], gate: Gate) -> None:
        """End the frames that no machine has any more; the new ones begin after them."""
        for bmp in old:
            self._outlet.stop(bmp)
        self._draining = [bmp for bmp in self._draining if not is_known_to_have_ended(bmp)] + old
        gate.open(old)

    def finish(self, host: str, request: AtomicRequests) -> None:
        """Have a frame that no machine has do one last thing."""
        bmp = self._make(host, _begin_at_once)
        self._draining.append(bmp)
        self._outlet.send(bmp, request)
        self._outlet.stop(bmp)

    # --- the end ---

    def stop(self) -> None:
        """Have all frames finish their requests and end."""
        for bmp in self.all:
            self._outlet.stop(bmp)

    def give_up(self) -> None:
        """End all frames; requests that have not begun are dropped."""
        for bmp in self.all:
            stand_in_frames.abandon(bmp)
        self._outlet.drop_requests()
        _stop(self.all)


class Gate:
    """Where new frames wait until those that they replace have ended."""

    def __init__(self) -> None:
        self._maker = threading.get_ident()
        self._opened = threading.Event()
        self._old: list[AsyncBMPController] = []

    def open(self, old: list[AsyncBMPController]) -> None:
        """Release the new frames once the stopped old ones have exited."""
        self._old = old
        self._opened.set()

    def wait(self) -> None:
        """Wait, in the thread of a new frame; in the thread that opens the gate, do not wait."""
        if threading.get_ident() == self._maker and not self._opened.is_set():
            return
        self._opened.wait()
        for bmp in self._old:
            bmp.join()


def _begin_at_once() -> None:
    """Wait for nothing."""


def _stop(bmps: Iterable[AsyncBMPController]) -> None:
    for bmp in bmps:
        bmp.stop()
