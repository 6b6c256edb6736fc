"""Reads command lines with options before, between and after the other arguments.

Knows no option of any program.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
from collections.abc import Sequence
from typing import Any

#: Words that argparse takes for an option, known or not; numbers below zero are none.
_OPTION = re.compile(r"-(?!\d+$|\d*\.\d+$)[^ ]+")


class Parser(argparse.ArgumentParser):
    """An argument parser that does not mind where options stand; after ``--`` there are none.

    As it is, argparse has all arguments that may be left out match nothing at the first option.
    Its `parse_intermixed_args` reads no sub-commands, and loses a ``--``.
    """

    def parse_known_args(  # type: ignore[override]  # the library's is a row of overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Read the options first, then the other words; returns unknown words too."""
        given = list(sys.argv[1:] if args is None else args)
        options = [action for action in self._actions if action.option_strings]
        others = [action for action in self._actions if not action.option_strings]
        if not options or not others or any(each.nargs == argparse.PARSER for each in others):
            return super().parse_known_args(given, namespace)
        end = given.index("--") if "--" in given else len(given)
        namespace, left = self._only(options).parse_known_args(given[:end], namespace)
        unknown = [word for word in left if _OPTION.fullmatch(word)]
        words = [word for word in left if not _OPTION.fullmatch(word)] + given[end + 1 :]
        # They are no options, even if they begin like some.
        quoted = ["--", *words] if words else []
        namespace, surplus = self._only(others).parse_known_args(quoted, namespace)
        return namespace, unknown + surplus

    def _only(self, actions: list[argparse.Action]) -> Parser:
        """Return a parser of some of the arguments, which explains them all."""
        part = copy.copy(self)
        vars(part).update(
            _actions=actions, format_help=self.format_help, format_usage=self.format_usage
        )
        return part
