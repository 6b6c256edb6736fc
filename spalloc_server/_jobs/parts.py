"""The objects behind a controller's lock: how they are put together, saved and made again.

Each is given the others that it needs, and nothing else.  Everything here runs under the lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spalloc_server import _clock
from spalloc_server._jobs import book as _book
from spalloc_server._jobs.board_states import BoardStates
from spalloc_server._jobs.book_check import check_book
from spalloc_server._jobs.facility import Facility
from spalloc_server._jobs.fleet import Fleet
from spalloc_server._jobs.health import Health
from spalloc_server._jobs.job_life import JobLife
from spalloc_server._jobs.job_power import JobPower
from spalloc_server._jobs.notice import Notice
from spalloc_server._jobs.plain_machine import to_plain
from spalloc_server._jobs.power_downs import PowerDowns
from spalloc_server._jobs.reasons import Reasons
from spalloc_server._jobs.report_desk import ReportDesk
from spalloc_server.job_queue import JobQueue

if TYPE_CHECKING:
    from spalloc_server._jobs.records import Records
    from spalloc_server.async_bmp_controller import AsyncBMPController

MakeFrame = Callable[[str, Callable[[], None]], "AsyncBMPController"]


class Parts:
    """The objects that share a controller's records.

    Parameters
    ----------
    records : Records
    make_frame : callable
        (host, callable to be called first thing in the thread) → a frame's thread.
    seconds_before_free : float
        Seconds that boards rest after power-off before they are given out again.
    """

    def __init__(
        self, records: Records, make_frame: MakeFrame, seconds_before_free: float
    ) -> None:
        self.records = records
        self.queue = JobQueue(None, None, None, seconds_before_free)
        # Users get fewer boards than they ask for only where they allow it.
        self.queue.full_measure = True
        self.fleet = Fleet(make_frame, records)
        self.health = Health(records, self.queue)
        self.power_downs = PowerDowns(records, self.queue, self.fleet, self.health)
        self.power = JobPower(records, self.queue, self.health, self.power_downs)
        self.facility = Facility(
            records, self.queue, self.fleet, self.health, self.power_downs, self.power
        )
        self.life = JobLife(records, self.queue, self.power, self.power_downs)
        self.boards = BoardStates(records, self.queue, self.power_downs, self.health)
        self.reasons = Reasons(records, self.queue, self.boards, self.health, self.life.waits)
        self.desk = ReportDesk(records, self.health)
        self.notice = Notice(records)

    def plain(self) -> _book.Book:
        """Return the whole state, as plain builtins (see `_jobs.book`)."""
        records, queue = self.records, self.queue
        return {
            **_book.empty(),
            "next_id": records.next_id,
            "max_retired_jobs": records.ended.most,
            "seconds_before_free": queue.seconds_before_free,
            "scheduling": queue.scheduling,
            "patience": queue.patience,
            "told_at": _clock.wall(),
            "machines": {name: to_plain(m) for name, m in records.machines.items()},
            "jobs": self.life.plain_jobs(),
            "retired": dict(records.ended.reasons),
            "ended": records.ended.plain_rows(),
            "going": self.power_downs.plain_going(),
            "resting": queue.resting(),
            "orphans": self.power_downs.plain_orphans(),
            "quarantine": self.health.to_plain(),
            "message": self.notice.plain(),
        }

    def impose(self, book: _book.Book) -> None:
        """Impose a book on parts that know nothing yet.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the book contradicts itself; no frame is left running.
        """
        check_book(book)
        queue = self.queue
        # Before there are machines, which get their kind of allocator by it.
        queue.set_order(book["scheduling"], book["patience"])
        try:
            with queue:
                self.facility.restore(book)
                self.records.ended.impose(book["retired"].items(), book["ended"])
                self.life.learn_waits()
                for name, allocations in book["resting"].items():
                    for allocation_id, (outcome, rested) in allocations.items():
                        queue.restore_resting(name, allocation_id, tuple(outcome), rested)
                self.power_downs.impose(book["going"], book["orphans"])
                for job_id, record in book["jobs"].items():
                    self.life.impose(job_id, record, book["told_at"])
                # After the allocations, some of which may be of boards that are out.
                self.health.impose(book["quarantine"])
                self.health.ask_silent_frames()
                self.notice.impose(book["message"])
        except BaseException:
            self.fleet.give_up()
            raise
