"""Logging never raises, whatever is logged."""

import logging
from collections.abc import Iterator

import pytest

from spalloc_server._logs import handler as _handler
from spalloc_server._logs.handler import BackgroundHandler
from spalloc_server._logs.line_writer import LineWriter
from tests.logs.test_line_writer import Paper


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def log(paper: Paper) -> Iterator[logging.Logger]:
    made = BackgroundHandler(LineWriter("log", paper, "{} missing".format))
    made.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log = logging.getLogger("tests.handler")
    log.addHandler(made)
    log.propagate = False
    yield log
    log.removeHandler(made)
    made.close()


def test_records_are_written_as_the_formatter_has_them(log: logging.Logger, paper: Paper) -> None:
    log.warning("one of %d", 2)
    log.handlers[0].flush()

    assert paper.lines == ["WARNING one of 2"]


def test_a_record_that_cannot_be_written_is_told_of(log: logging.Logger, paper: Paper) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    handler = log.handlers[0]
    # By itself: the test's own handler would complain.
    for message, arguments in (("%s", (Odd(),)), ("%d of %d", (1,))):
        handler.handle(logging.makeLogRecord({"msg": message, "args": arguments}))
    handler.flush()

    first, second = paper.lines
    assert "cannot be written (RuntimeError): '%s'" in first
    assert "cannot be written (TypeError): '%d of %d'" in second


def test_a_record_without_end_is_cut(
    log: logging.Logger, paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_handler, "_LONGEST", 20)

    log.warning("x" * 100)
    log.handlers[0].flush()

    assert paper.lines == ["WARNING " + 12 * "x" + "..."]
