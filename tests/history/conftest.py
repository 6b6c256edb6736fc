"""Databases of stories."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from spalloc_server._history.history import History
from tests.history.story import Story, history_of


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Callable[[Story], History]]:
    """Makes a history of a story."""
    with ExitStack() as stack:

        def make(story: Story) -> History:
            return stack.enter_context(closing(history_of(tmp_path, story)))

        yield make
