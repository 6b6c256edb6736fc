"""The shapes of an order: its parameters, the question before it, and its result."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from spalloc_web._accounts.rights import Access
from spalloc_web._accounts.users import User
from spalloc_web._facility.front import Front
from spalloc_web._facility.picture import Picture
from spalloc_web._facility.replies import read

#: Beyond it JavaScript loses digits.
_LARGEST = 1 << 53
#: Characters of a reason or message; the server's own limit.
MOST_TEXT = 500
MOST_REPORT = 1024

JobNumber = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_TEXT)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_REPORT)]
Boards = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]


class BadOrderError(Exception):
    """An order that cannot be given as it is; the text says why."""


class NotYoursError(Exception):
    """An order about somebody else's job; the text says which."""


class NothingThereError(Exception):
    """An order about something that is not there; the text names it."""


@dataclass(frozen=True)
class Input:
    """A field of the form.

    Attributes
    ----------
    kind : str
        ``text``, ``area``, ``choice`` or ``secret``.
    hint : str
        A sentence beside it.
    choices : tuple of (value, words)
        For ``choice``.
    """

    name: str
    label: str
    value: str = ""
    kind: Literal["text", "area", "choice", "secret"] = "text"
    hint: str = ""
    required: bool = True
    most: int = MOST_TEXT
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Question:
    """The page before an order: what it will do, and to which jobs and boards.

    Attributes
    ----------
    title, verb : str
        Of the page, and on the button.
    sentences : list of str
        The consequences.
    facts : list of (str, str)
        Of the job or boards.
    inputs : list of Input
        Still to be filled in.
    hidden : dict
        Parameters that are settled.
    back : str
        Path of the page to go back to, below the base.
    """

    title: str
    verb: str
    sentences: list[str]
    facts: list[tuple[str, str]] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    hidden: dict[str, str] = field(default_factory=dict)
    back: str = "/"


@dataclass(frozen=True)
class Result:
    """The page after an order that was carried out."""

    title: str
    sentences: list[str]
    back: str = "/"


@dataclass(frozen=True)
class Desk:
    """Everything that an order needs.

    Attributes
    ----------
    user : User
        The giver.
    address : str or None
        Of the giver's computer.
    picture : Picture
        The newest.
    front : Front
        Gives commands for users.
    """

    user: User
    address: str | None
    picture: Picture
    front: Front

    async def call(self, command: str, *args: object) -> Any:
        """Give a command for the user.

        Raises
        ------
        FrontError
        """
        return await self.front.call(self.user.name, self.address, command, *args)

    async def operate(self, shape: type[Any], **order: object) -> Any:
        """Give an operator's order, and return the reply, read.

        Raises
        ------
        FrontError, UnreadableReplyError
        """
        reply = await self.call("operate", order)
        return read(reply, shape, f"operate {order['do']}")


@dataclass(frozen=True)
class Order:
    """A kind of order.

    Attributes
    ----------
    word : str
        In its address.
    access : str
        The least rights that it needs.
    command : str
        Of the server; older servers do not have it.
    asked, given : type
        Structs of the parameters of the question and of the order.
    ask, give : callable
        Return the question, and carry the order out.
    """

    word: str
    access: Access
    command: str
    asked: type[msgspec.Struct]
    given: type[msgspec.Struct]
    ask: Callable[[Desk, Any], Awaitable[Question]]
    give: Callable[[Desk, Any], Awaitable[Result]]


def plain(name: str, text: str) -> str:
    """Return text with single spaces.

    Raises
    ------
    BadOrderError
        If nothing is left, or it has characters that do not print.
    """
    words = " ".join(text.split())
    if not words:
        raise BadOrderError(f"Parameter {name!r} is missing.")
    if not words.isprintable():
        raise BadOrderError(f"Parameter {name!r} has characters that do not print.")
    return words


def names_of_boards(text: str) -> list[str]:
    """Return the boards that were named, one to a line.

    Raises
    ------
    BadOrderError
        If there are none, more than 100, or one does not print.
    """
    names = [plain("boards", line) for line in re.split(r"[\r\n]+", text) if line.strip()]
    if not 1 <= len(names) <= 100:
        raise BadOrderError(f"Parameter 'boards' names {len(names)} places: expected 1 to 100.")
    return names


def counted(number: int, word: str) -> str:
    """Write a number and its word: ``1 board``, ``12 boards``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}".replace(",", "\N{NO-BREAK SPACE}")
