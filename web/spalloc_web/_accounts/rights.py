"""The rights of users, in the words of the server's rules."""

from __future__ import annotations

from typing import Literal

Access = Literal["read", "use", "operate"]
#: A higher one last.
ACCESS: tuple[Access, ...] = ("read", "use", "operate")
