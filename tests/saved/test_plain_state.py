"""The checker of saved states finds what it is there to find."""

from collections import deque

import pytest

from spalloc_server.links import Links
from tests.support.plain_state import assert_plain


def test_builtins_within_builtins_are_plain() -> None:
    assert_plain({"a": [(1, 2.0, None)], ("b", 3): {frozenset({True})}})


@pytest.mark.parametrize(
    "state", [Links.east, {"a": [Links.east]}, {(0, Links.north): 1}, deque([1]), object()]
)
def test_anything_else_is_found(state: object) -> None:
    with pytest.raises(AssertionError, match="is a"):
        assert_plain(state)
