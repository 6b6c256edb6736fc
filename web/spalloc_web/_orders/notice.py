"""The operators' message to everybody, and whether new jobs are accepted."""

from __future__ import annotations

from typing import Literal

import msgspec

from spalloc_web._orders.shapes import Desk, Question, Result, Text, plain


class MessageGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Puts a message up, or takes it down if there is no text."""

    accepting: Literal["yes", "no"]
    text: Text | None = None


class _Said(msgspec.Struct, frozen=True):
    text: str | None
    accepting: bool


def _words(text: str | None, accepting: bool) -> list[str]:
    message = f"Everybody reads: {text}" if text else "There is no message to anybody."
    if accepting:
        return [message, "New jobs are accepted."]
    told = "these words" if text else "the advice to ask the operator"
    return [message, f"New jobs are refused with {told}; jobs that exist go on."]


async def ask_message(desk: Desk, asked: MessageGiven) -> Question:
    """Ask before the message changes."""
    text = plain("text", asked.text) if asked.text else None
    accepting = asked.accepting == "yes"
    now = desk.picture.status
    return Question(
        "Change the message to everybody?" if accepting else "Refuse new jobs?",
        "Change it" if accepting else "Refuse new jobs",
        _words(text, accepting),
        [
            ("Message now", now.message or "none"),
            ("New jobs now", "are refused" if now.accepting is False else "are accepted"),
        ],
        hidden={"accepting": asked.accepting} | ({"text": text} if text else {}),
        back="/operate",
    )


async def message(desk: Desk, given: MessageGiven) -> Result:
    """Change the message."""
    text = plain("text", given.text) if given.text else None
    said: _Said = await desk.operate(
        _Said, do="message", text=text, accepting=given.accepting == "yes"
    )
    return Result("The message is changed", _words(said.text, said.accepting), "/operate")
