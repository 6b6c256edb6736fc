"""Reads command lines with options before, between and after the other arguments.

Knows no option of any program.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any

#: Words that argparse takes for an option, known or not; numbers below zero are none.
_OPTION = re.compile(r"-(?!\d+$|\d*\.\d+$)[^ ]+")

#: How much an option of ours must resemble an unknown one to be named, from 0 to 1.
_RESEMBLANCE = 0.7  # arbitrary


class Parser(argparse.ArgumentParser):
    """An argument parser that does not mind where options stand; after ``--`` there are none.

    As it is, argparse has all arguments that may be left out match nothing at the first option.
    Its `parse_intermixed_args` reads no sub-commands, and loses a ``--``.
    """

    def parse_known_args(  # type: ignore[override]  # the library's is a row of overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Read the options first, then the other words; returns surplus words too."""
        given = list(sys.argv[1:] if args is None else args)
        options = [action for action in self._actions if action.option_strings]
        others = [action for action in self._actions if not action.option_strings]
        if not options or not others or any(each.nargs == argparse.PARSER for each in others):
            namespace, left = super().parse_known_args(given, namespace)
            self._refuse_unknown(left)
            return namespace, left
        end = given.index("--") if "--" in given else len(given)
        read = super(Parser, self._only(options)).parse_known_args
        namespace, left = read(given[:end], namespace)
        # Before the words behind them, which may belong to them.
        self._refuse_unknown(left)
        words = left + given[end + 1 :]
        # They are no options, even if they begin like some.
        quoted = ["--", *words] if words else []
        return super(Parser, self._only(others)).parse_known_args(quoted, namespace)

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """Complain about options that are none of ours, and name those that they resemble."""
        unknown = [word.partition("=")[0] for word in words if _OPTION.fullmatch(word)]
        if not unknown:
            return
        names = [name[2:] for name in self._option_string_actions if name.startswith("--")]
        meant = difflib.get_close_matches(
            unknown[0].lstrip("-"), names, n=2, cutoff=_RESEMBLANCE
        )
        named = " or ".join(f"--{name}" for name in meant)
        question = f"; did you mean {named}?" if meant else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{question}")

    def _only(self, actions: list[argparse.Action]) -> Parser:
        """Return a parser of some of the arguments, which explains them all."""
        part = copy.copy(self)
        vars(part).update(
            _actions=actions, format_help=self.format_help, format_usage=self.format_usage
        )
        return part
