"""The words of spalloc while it waits: a text that changes on a terminal, else lines.

All of it goes to standard error, so that standard output holds the result alone.
"""

import sys
from types import TracebackType

from rich.status import Status
from rich.text import Text

from spalloc_client._palette import STRONG, word
from spalloc_client._terminal import draws_unicode, make_console, plain
from spalloc_client._text import clean
from spalloc_client.states import JobState

#: Lines of a terminal that the changing text fills at most.  # arbitrary
_MOST_LINES = 8


class Progress:
    """Says how a job comes along; says nothing if `quiet`."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._console = make_console(sys.stderr)
        self._status: Status | None = None
        self._last = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()

    def waiting(self, job_id: int, state: JobState, detail: str) -> None:
        """Show the state that the job waits in; replaced by the next text."""
        if self._quiet:
            return
        text = Text.assemble(
            (f"Job {job_id}", STRONG), ": ", (state.name, word(state.name)), f" - {clean(detail)}"
        )
        if not self._console.is_terminal:
            self._print_new(text)
            return
        # Wrapped, not cut: the reason for waiting stands at its end.
        text.truncate(max(self._console.width - 4, 10) * _MOST_LINES, overflow="ellipsis")
        if self._status is None:
            spinner = "dots" if draws_unicode(self._console) else "line"
            self._status = self._console.status(text, spinner=spinner)
            self._status.start()
        else:
            self._status.update(text)

    def say(self, text: str, even_if_quiet: bool = False) -> None:
        """Print a line that stays."""
        if not self._quiet or even_if_quiet:
            self.clear()
            self._print_new(plain(text))

    def clear(self) -> None:
        """Take the changing text away, and give the cursor back."""
        status, self._status = self._status, None
        if status is not None:
            status.stop()

    def _print_new(self, text: Text) -> None:
        if text.plain != self._last:
            self._last = text.plain
            self._console.print(text, soft_wrap=True)
