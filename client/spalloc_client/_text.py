"""Texts from elsewhere made harmless, and times in words; knows no terminal."""

import time


def clean(text: str) -> str:
    """Show the characters of a text that do not print as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def when(moment: float | None, brief: bool = False) -> str:
    """Tell a time (Unix, seconds) in the local time zone, and name the zone."""
    if moment is None:
        return ""
    pattern = "%m-%d %H:%M %Z" if brief else "%Y-%m-%d %H:%M:%S %Z"
    return time.strftime(pattern, time.localtime(moment))
