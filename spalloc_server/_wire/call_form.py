"""The form of a command's arguments, and the words for a call that does not fit it.

Owns the comparison of a call with the method that carries it out.  Must not know how commands
come in, nor what they do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from spalloc_server._checks.values import shown

#: Parameters that every command's method has, and that no client gives: the server, the client.
_FROM_WITHIN = 2


class CallFormError(TypeError):
    """A command with arguments too many, too few or of unknown names; the text says which."""


def misfit(
    name: str, handler: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> CallFormError | None:
    """Compare a call with the method that was to carry it out.

    Parameters
    ----------
    name : str
        Of the command.
    handler : callable
        The method, not bound; its first two parameters are not the client's to give.
    args, kwargs
        As the client gave them.

    Returns
    -------
    CallFormError or None
        The first argument that does not fit, and the arguments that are allowed; None if the call
        fits.
    """
    form = signature(handler)
    try:
        form.bind(None, None, *args, **kwargs)
    except TypeError:
        allowed = list(form.parameters.values())[_FROM_WITHIN:]
        named = [each for each in allowed if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
        return CallFormError(
            f"{name} {_fault(named, args, kwargs)}; its arguments are {_listed(allowed)}"
        )
    return None


def _fault(allowed: list[Parameter], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Name the first argument that does not fit."""
    names = [each.name for each in allowed]
    if len(args) > len(names):
        return f"was given {shown(args[len(names)])}, one argument too many"
    for key, value in kwargs.items():
        if key not in names:
            return f"has no argument {shown(key)}"
        if key in names[: len(args)]:
            return f"was given {key} twice, as {shown(args[names.index(key)])} and {shown(value)}"
    missing = [
        each.name
        for each in allowed[len(args) :]
        if each.default is Parameter.empty and each.name not in kwargs
    ]
    return f"was not given {', '.join(missing)}"


def _listed(allowed: list[Parameter]) -> str:
    """List arguments as JSON has them, with the values of those that may be left out."""
    return ", ".join(map(_named, allowed)) or "none"


def _named(each: Parameter) -> str:
    if each.kind is Parameter.VAR_KEYWORD:
        return "keywords"
    return (
        each.name if each.default is Parameter.empty else f"{each.name}={json.dumps(each.default)}"
    )
