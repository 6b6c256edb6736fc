"""Where boards are: cabinet, frame and board, and the address where the server tells it.

Asked once for each machine and kept until it changes.  An older server is asked board by board,
in small portions so that no other client of it has to wait.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from spalloc_web._facility.connection import CommandRefusedError, ConnectionLostError
from spalloc_web._facility.follower import Follower
from spalloc_web._facility.picture import Machine
from spalloc_web._facility.questions import Questions
from spalloc_web._facility.replies import EventReply, UnreadableReplyError, read

#: Commands sent at a time: a few milliseconds of the server's loop.
PORTION = 200


class Place(NamedTuple):
    """Where a board is."""

    cabinet: int
    frame: int
    board: int
    address: str | None


class AwayError(Exception):
    """The server cannot be asked now."""


_Key = tuple[int, int, int, int]
#: x, y, z, cabinet, frame, board, address: the row of the server's `list_places`.
_Row = tuple[int, int, int, int, int, int, str | None]


class Places:
    """Places of all machines' boards.

    Parameters
    ----------
    follower
        Of the server that is asked.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._known: dict[str, tuple[_Key, dict[tuple[int, int, int], Place]]] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        # The connection that they are from: a server that comes back may have other machines.
        self._source: Questions | None = None
        follower.on_events(self._note)

    async def of(self, machine: Machine) -> dict[tuple[int, int, int], Place]:
        """Return the places of a machine's boards.

        Raises
        ------
        AwayError
            If they are not known yet and the server cannot be asked.
        """
        lock = self._asking.setdefault(machine.name, asyncio.Lock())
        async with lock:
            questions = self._follower.questions
            if questions is not None and questions is not self._source:
                self._known.clear()
                self._source = questions
            boards = hash(tuple(row[:3] for row in machine.boards))
            key = (machine.width, machine.height, len(machine.boards), boards)
            known = self._known.get(machine.name)
            if known and known[0] == key:
                return known[1]
            places = await self._ask(machine)
            self._known[machine.name] = key, places
            return places

    def _note(self, events: list[EventReply]) -> None:
        """Forget the places of machines that were changed in the configuration."""
        for event in events:
            if event.kind == "machine changed":
                self._known.pop(str(event.more.get("machine")), None)

    async def _ask(self, machine: Machine) -> dict[tuple[int, int, int], Place]:
        questions = self._follower.questions
        if questions is None:
            raise AwayError("the server is away: it cannot be asked where boards are")
        boards = [row[:3] for row in machine.boards]
        places: dict[tuple[int, int, int], Place] = {}
        try:
            if "list_places" in questions.commands:
                reply = await questions.call("list_places", machine.name)
                rows = [] if reply is None else read(reply, list[_Row], "list_places")
                return {row[:3]: Place(*row[3:]) for row in rows}
            for start in range(0, len(boards), PORTION):
                portion = boards[start : start + PORTION]
                replies = await questions.call_all(
                    [("get_board_position", (machine.name, *board), {}) for board in portion]
                )
                for board, reply in zip(portion, replies, strict=True):
                    if place := _place(reply):
                        places[board] = place
        except (ConnectionLostError, CommandRefusedError, UnreadableReplyError) as e:
            raise AwayError(f"the server does not tell where boards are: {e}") from e
        return places


def _place(reply: Any) -> Place | None:
    if isinstance(reply, list) and len(reply) == 3 and all(isinstance(n, int) for n in reply):
        return Place(reply[0], reply[1], reply[2], None)
    return None
