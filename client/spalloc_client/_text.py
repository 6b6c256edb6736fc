"""Texts from elsewhere, made harmless; knows no terminal."""


def clean(text: str) -> str:
    """Show the characters of a text that do not print as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
