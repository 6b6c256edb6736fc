"""The operator's notice to all users, and the record of the operators' orders.

Owns the message that every user is shown, and whether new jobs are accepted.  Runs under the
controller's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spalloc_server import _clock

if TYPE_CHECKING:
    from spalloc_server._jobs.records import Records


class Notice:
    """The message of the facility.

    Parameters
    ----------
    records : Records
        Told of each change.

    Attributes
    ----------
    text : str or None
        For all users; None if there is nothing to tell them.
    accepting : bool
        Whether new jobs are accepted.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self.text: str | None = None
        self.accepting = True

    def set(self, text: str | None, accepting: bool = True) -> None:
        """Put up another message, or none."""
        with self._records.lock:
            self.text, self.accepting = text, accepting
            self._records.tell("message", text, accepting)

    def check_accepting(self) -> None:
        """Refuse a new job while none are accepted.

        Raises
        ------
        ValueError
            With the operator's message.
        """
        if not self.accepting:
            raise ValueError(f"no new jobs are accepted now: {self.text or 'ask the operator'}")

    def note_order(
        self, word: str, given: dict[str, Any], principal: str, told: str | None
    ) -> None:
        """Record that an operator's order was carried out.

        Parameters
        ----------
        word : str
            The order.
        given : dict
            Its keys and values, as JSON has them.
        principal : str
            The operator's.
        told : str or None
            The name of the person, as told by the program.
        """
        with self._records.lock:
            entry = {"order": word, **given, "by": principal, "told": told, "at": _clock.wall()}
            self._records.tell("order", entry)

    def plain(self) -> list[Any]:
        """Return the notice as a book has it."""
        return [self.text, self.accepting]

    def impose(self, plain: list[Any]) -> None:
        """Take the notice over from a book."""
        self.text, self.accepting = plain
