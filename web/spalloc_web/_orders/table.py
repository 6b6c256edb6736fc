"""The table of orders: pages, checks and the manual are made of it."""

from __future__ import annotations

from spalloc_web._orders import boards, jobs, notice
from spalloc_web._orders.shapes import Order

ORDERS = (
    Order(
        "end", "operate", "operate",
        jobs.JobAsked, jobs.EndGiven, jobs.ask_end, jobs.end,
    ),
    Order(
        "give", "operate", "operate",
        jobs.JobAsked, jobs.GiveGiven, jobs.ask_give, jobs.give,
    ),
    Order(
        "out", "operate", "operate",
        boards.BoardsAsked, boards.OutGiven, boards.ask_out, boards.out,
    ),
    Order(
        "back", "operate", "operate",
        boards.BackAsked, boards.BackGiven, boards.ask_back, boards.back,
    ),
    Order(
        "test", "operate", "operate",
        boards.BoardsAsked, boards.TestGiven, boards.ask_test, boards.test,
    ),
    Order(
        "message", "operate", "operate",
        notice.MessageGiven, notice.MessageGiven, notice.ask_message, notice.message,
    ),
    Order(
        "end-own", "use", "destroy_job",
        jobs.JobAsked, jobs.EndOwnGiven, jobs.ask_end_own, jobs.end_own,
    ),
    Order(
        "report", "use", "report_problem",
        jobs.ReportAsked, jobs.ReportGiven, jobs.ask_report, jobs.report,
    ),
)  # fmt: skip
