"""Decides from the waiting news which to send and which to give up; sends nothing itself.

At most `MOST` messages an hour go to one destination; after that, news wait and go out
together as a digest when the hour is over.  News that could not be sent for a day are given up.
"""

from __future__ import annotations

from typing import NamedTuple

from spalloc_web._notices.news import News

#: Messages to one destination within `HOUR`.
MOST = 10
HOUR = 3600.0
#: Seconds after which news that could not be sent are given up.
TOO_OLD = 86400.0
#: Lines of a digest; the rest is counted.
LINES = 50


class Message(NamedTuple):
    """A message to send.

    Attributes
    ----------
    title, body : str
    keys : list of int
        Of the news in it.
    """

    title: str
    body: str
    keys: list[int]


class Plan(NamedTuple):
    """The messages for one destination.

    Attributes
    ----------
    messages : list of Message
        In order.
    too_old : list of int
        Keys of the news to give up.
    """

    messages: list[Message]
    too_old: list[int]


def plan(waiting: list[tuple[int, News]], sent_lately: int, now: float) -> Plan:
    """Decide which messages to send.

    Parameters
    ----------
    waiting
        News with their keys, oldest first.
    sent_lately : int
        Messages sent within the last hour.
    now : float
        Unix time, seconds.
    """
    too_old = [key for key, news in waiting if now - news.time > TOO_OLD]
    fresh = [(key, news) for key, news in waiting if now - news.time <= TOO_OLD]
    room = MOST - sent_lately
    if not fresh or room <= 0:
        return Plan([], too_old)
    if len(fresh) < room:
        return Plan([_single(*each) for each in fresh], too_old)
    # The last message of the hour holds all that would not fit.
    alone, together = fresh[: room - 1], fresh[room - 1 :]
    return Plan([*(_single(*each) for each in alone), _digest(together)], too_old)


def _single(key: int, news: News) -> Message:
    return Message(f"spalloc: {news.text}"[:120], news.text, [key])


def _digest(news: list[tuple[int, News]]) -> Message:
    if len(news) == 1:
        return _single(*news[0])
    lines = [each.text for _, each in news[:LINES]]
    if len(news) > LINES:
        lines.append(f"and {len(news) - LINES} more.")
    return Message(f"spalloc: {len(news)} notices", "\n".join(lines), [key for key, _ in news])
