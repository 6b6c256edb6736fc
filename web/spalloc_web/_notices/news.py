"""Events that are worth a notice, in words.

Knows the kinds of events; knows nothing of destinations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from spalloc_web._facility.replies import EventReply


class News(NamedTuple):
    """Something to tell administrators.

    Attributes
    ----------
    number : int
        Of the event.
    time : float
        Unix time, seconds.
    kind : str
        One of `spalloc_web._settings.NOTICE_KINDS`.
    text : str
        One line.
    """

    number: int
    time: float
    kind: str
    text: str


def news_of(event: EventReply, now: float) -> News | None:
    """Make news of an event; None if it is not worth a notice.

    Parameters
    ----------
    event
        Of `list_events`.
    now
        Unix time for events that tell none, seconds.
    """
    more = event.more
    when = more.get("time")
    moment = float(when) if isinstance(when, (int, float)) else now
    if event.kind in {"board out", "board back"}:
        kind, text = _of_boards(event.kind == "board out", more)
    elif event.kind == "report":
        done = str(more.get("done") or "")
        if done.startswith(("noted", "nothing")):
            # A first report, or one that does not count.
            return None
        told = f" ({done})" if done else ""
        kind, text = "report", f"Board {_where(more)} was reported{_why(more)}{told}."
    else:
        return None
    return News(event.number, moment, kind, text)


def _of_boards(out: bool, more: dict[str, Any]) -> tuple[str, str]:
    if _is_frame(more):
        verb = "does not answer" if out else "answers again"
        return "frame", f"Frame {_where(more)} {verb}{_why(more)}."
    verb = "is out of service" if out else "is back in service"
    if out and more.get("sure") is False:
        verb = "is a suspect"
    return "board", f"Board {_where(more)} {verb}{_why(more)}."


def _is_frame(more: dict[str, Any]) -> bool:
    return "frame" in more and not _boards(more)


def _boards(more: dict[str, Any]) -> list[Any]:
    board = more.get("board")
    if isinstance(board, list):
        return [board]
    boards = more.get("boards")
    return boards if isinstance(boards, list) else []


def _where(more: dict[str, Any]) -> str:
    machine = f" of {more['machine']}" if more.get("machine") else ""
    boards = _boards(more)
    if boards:
        shown = ", ".join(_place(board) for board in boards[:8])
        rest = f" and {len(boards) - 8} more" if len(boards) > 8 else ""
        return f"{shown}{rest}{machine}"
    place = more.get("frame")
    where = " ".join(f"{word}{part}" for word, part in zip("cf", place, strict=False)) if (
        isinstance(place, list)
    ) else str(place)
    return f"{where}{machine}"


def _place(board: Any) -> str:
    return f"({', '.join(str(part) for part in board)})" if isinstance(board, list) else str(board)


def _why(more: dict[str, Any]) -> str:
    why = more.get("text") or more.get("how")
    return f": {' '.join(str(why).split())}" if why else ""
