"""A history that answers from memory."""

from __future__ import annotations

import threading
from typing import Any

from spalloc_web._past.history import HistoryAwayError
from spalloc_web._past.shapes import (
    BoardEvent,
    BoardPast,
    DayRow,
    FaultRow,
    JobPast,
    PastJob,
    PastPage,
    Spell,
    UsageRow,
)

from tests.support.facility import OWNERS, START


def past_job(job_id: int) -> PastJob:
    return PastJob(
        job_id=job_id,
        owner=OWNERS[job_id % 4],
        host="10.0.0.7",
        created=START + job_id,
        allocated=START + job_id + 60,
        ready=START + job_id + 65,
        ended=START + job_id + 4000,
        machine="machine",
        place=[0, 0, 2, 1],
        boards=6,
        reason="=SUM(A1) <b>done</b>",
        ended_by="client",
    )


class FakeSource:
    """Answers at once, or as told."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.hold: threading.Event | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.closed = False

    def _ask(self, *question: Any) -> None:
        self.asked.append(question)
        if self.hold:
            self.hold.wait(30)
        if self.trouble:
            raise HistoryAwayError(self.trouble)

    def usage(self, deadline: float, since: float, until: float, by: str) -> list[UsageRow]:
        self._ask("usage", since, until, by)
        names = {"owner": OWNERS, "machine": ("machine", "solo")}.get(by, ("2026-11-01",))
        return [
            UsageRow(
                key=name,
                board_hours=1234.5 / (place + 1),
                jobs=40 - place,
                wait_median=60.0 * place,
                wait_95=3600.0,
                utilisation=0.8 / (place + 1) if by == "machine" else None,
            )
            for place, name in enumerate(names)
        ]

    def days(self, deadline: float, since: float, until: float) -> list[DayRow]:
        self._ask("days", since, until)
        return [
            DayRow(
                day=f"2026-11-{day:02}",
                machine=machine,
                board_hours=20.0 * day,
                jobs=day,
                wait_median=30.0 * (day % 7),
                wait_95=300.0 * (day % 7) + 100,
                utilisation=share * (0.4 + (day * 7 % 11) / 20),
            )
            for day in range(1, 29)
            for machine, share in (("machine", 0.9), ("solo", 0.5))
        ]

    def faults(self, deadline: float, since: float, until: float) -> list[FaultRow]:
        self._ask("faults", since, until)
        return [
            FaultRow(
                machine="machine", cabinet=0, frame=f, faults=12 - 3 * f, boards=4 - f, silent=f
            )
            for f in range(3)
        ]

    def jobs(self, deadline: float, **filters: Any) -> PastPage:
        self._ask("jobs", filters)
        after = filters.get("after")
        first = min(300, int(after.partition("/")[0].partition(".")[0])) if after else 300
        last = max(0, first - filters.get("limit", 100))
        following = str(last) if last else None
        return PastPage(jobs=[past_job(j) for j in range(first, last, -1)], next=following)

    def job(self, deadline: float, job_id: int) -> JobPast | None:
        self._ask("job", job_id)
        if not 0 < job_id <= 300:
            return None
        job = past_job(job_id)
        spells = [
            Spell(machine="machine", place=[0, 0, 2, 1], boards=6, since=job.allocated,
                  until=job.ended, fault="board (0, 0, 1): power on refused"),
            Spell(machine="machine", place=[1, 1, 2], boards=1, since=job.ended, until=None,
                  fault=None),
        ]
        return JobPast(job=job, spells=spells)

    def board(self, deadline: float, machine: str, board: tuple[int, int, int]) -> BoardPast:
        self._ask("board", machine, board)
        return BoardPast(
            events=[
                BoardEvent(time=START, kind="out of service", text="power on refused"),
                BoardEvent(time=START + 60, kind="reported", text="<b>hot</b>"),
            ],
            jobs=[past_job(7)],
        )

    def close(self) -> None:
        self.closed = True
