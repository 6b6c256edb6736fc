"""How much of the facility a reader sees."""

from __future__ import annotations

from enum import Enum


class Sight(Enum):
    """How much a reader sees."""

    NONE = "none"
    STATES = "states"
    ALL = "all"

    @property
    def names(self) -> bool:
        """Whether owners, hosts and texts are shown."""
        return self is Sight.ALL
