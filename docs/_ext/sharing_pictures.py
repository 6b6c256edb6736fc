"""Pictures of a machine that is shared out, drawn from the server's own queue.

A small day runs through the queue under a clock moved by hand; the machine is drawn as
it is at some moments.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from unittest.mock import patch

from spalloc_server import _clock
from spalloc_server.job_queue import JobQueue

#: Size of the machine, triads, and of a triad, pixels.
WIDTH, HEIGHT, SIDE = 8, 4, 46
_LEFT, _TOP = 8, 30
_FILLS = ("#9ecae1", "#fdd49e", "#c7e9c0", "#dadaeb", "#fcbba1", "#d9d9d9", "#c6dbef", "#fee391")
#: The job that waits for most of the machine.
BIG = 6


class Day:
    """The life of a machine up to some moment."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue = JobQueue(None, None, None, seconds_before_free=30)
        self.queue.scheduling = "overtaking"
        self.queue.add_machine("m", WIDTH, HEIGHT)

    def live_until(self, until: float) -> None:
        """Let the day go on."""
        with patch.object(_clock, "monotonic", lambda: self.now):
            for when, what in sorted(_EVENTS, key=lambda event: event[0]):
                if self.now < when <= until or (when == 0 == self.now and not self.queue._jobs):
                    self.now = max(self.now, when)
                    what(self)
            self.now = until
            self.queue.check_free()

    def come(self, job_id: int, *what: int) -> None:
        """Let a job come."""
        self.queue.create_job(*what, job_id=job_id)

    def end(self, job_id: int) -> None:
        """Let a job end, whose boards are free again half a minute later."""
        self.queue.destroy_job(job_id)
        self.queue.free(job_id)

    def draw(self, title: str) -> str:
        """Draw the machine as it is."""
        shapes = [_text(_LEFT, 18, title, "start")]
        machine = self.queue._machines["m"]
        for x in range(WIDTH):
            for y in range(HEIGHT):
                shapes.append(_block(x, y, 1, 1, 'fill="#fff" stroke="#bbb"'))
        for allocation_id, footprint in machine.allocator.allocations.items():
            job = machine.tenants[allocation_id].id
            block = footprint[1:]
            assert len(block) == 4
            shapes.append(_block(*block, f'fill="{_FILLS[job % len(_FILLS)]}" stroke="#333"'))
            shapes.append(_label(*block, f"job {job}"))
        for _, footprint, _rested in machine.allocator.resting:
            block = footprint[1:]
            assert len(block) == 4
            shapes.append(_block(*block, 'fill="#f2f2f2" stroke="#999"'))
            shapes.append(_label(*block, "rests"))
        with patch.object(_clock, "monotonic", lambda: self.now):
            region = self.queue.region_of(BIG)
        if region is not None and len(region.place) == 4:
            closed = region.age >= self.queue.patience
            dashes = "" if closed else ' stroke-dasharray="9 5"'
            style = f'fill="none" stroke="#b30000" stroke-width="4"{dashes}'
            shapes.append(_block(*region.place, style))
        width, height = 2 * _LEFT + WIDTH * SIDE, _TOP + HEIGHT * SIDE + 8
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" '
            f'viewBox="0 0 {width} {height}" style="max-width: 100%; height: auto; '
            f'background: #fff; font-family: sans-serif"><title>{escape(title)}</title>'
            + "".join(shapes)
            + "</svg>"
        )


def _block(x: int, y: int, width: int, height: int, style: str) -> str:
    left, top = _LEFT + x * SIDE, _TOP + (HEIGHT - y - height) * SIDE
    return (
        f'<rect x="{left}" y="{top}" width="{width * SIDE}" height="{height * SIDE}" {style}/>'
    )


def _label(x: int, y: int, width: int, height: int, text: str) -> str:
    left = _LEFT + (x + width / 2) * SIDE
    return _text(left, _TOP + (HEIGHT - y - height / 2) * SIDE + 4, text, "middle")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="12" text-anchor="{anchor}" '
        f'fill="#111">{escape(text)}</text>'
    )


#: Seconds from the start, and the event.
_EVENTS: list[tuple[float, Callable[[Day], None]]] = [
    (0, lambda day: day.come(1, 3, 4)),
    (60, lambda day: day.come(2, 2, 2)),
    (120, lambda day: day.come(3, 3, 2)),
    (180, lambda day: day.come(4, 2, 2)),
    (240, lambda day: day.come(5, 1, 2)),
    (900, lambda day: day.end(4)),
    (1000, lambda day: day.come(BIG, 6, 4)),
    (1100, lambda day: day.come(7, 2, 1)),
    (1200, lambda day: day.come(8, 2, 1)),
    (4000, lambda day: day.end(2)),
    (4100, lambda day: day.come(9, 2, 2)),
    (8250, lambda day: day.end(7)),
    (8300, lambda day: day.come(10, 2, 1)),
    (8400, lambda day: day.end(3)),
    (8450, lambda day: day.come(11, 2, 2)),
    (8900, lambda day: day.end(1)),
    (8950, lambda day: day.come(12, 2, 2)),
    (9000, lambda day: day.end(8)),
    (9100, lambda day: day.end(5)),
    (9150, lambda day: day.end(9)),
]


def moment(seconds: float, title: str) -> Callable[[], str]:
    """Return a function that draws the machine at a moment of the day."""

    def draw() -> str:
        day = Day()
        day.live_until(seconds)
        return day.draw(title)

    return draw


DRAWINGS = {
    "region-given": moment(1250, "after 21 minutes: a region for job 6, which wants 6 x 4"),
    "region-leaks": moment(4200, "after 70 minutes: the region leaks, job 9 uses boards of it"),
    "region-closed": moment(8960, "after 149 minutes: the region is closed, job 12 waits"),
    "region-over": moment(9190, "after 153 minutes: job 6 has its boards"),
}
