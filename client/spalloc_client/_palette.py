"""The colours, chosen to be legible on dark and on light terminals.

All are of the part of the 256-colour palette that themes do not change. Where a colour is
laid under text, the text's own colour is said too; where text stands on the terminal's
own background, its colour is of middling lightness. On terminals of 16 colours the
nearest are taken.
"""

from rich.style import Style

#: Fields of the map: (background, text), numbers of the 256-colour palette.
FIELDS = (
    (25, 231),
    (220, 16),
    (127, 231),
    (155, 16),
    (160, 231),
    (117, 16),
    (28, 231),
    (213, 16),
    (23, 231),
    (209, 16),
    (130, 231),
    (250, 16),
)

GREEN, RED, BLUE, BROWN = 28, 160, 27, 130

#: Colours of words, by state or meaning.
WORDS = {
    "queued": BROWN,
    "power": BLUE,
    "ready": GREEN,
    "destroyed": RED,
    "unknown": RED,
    "dead": RED,
    "lost": RED,
}

#: Texts that matter, and lines that should not draw the eye.
STRONG = Style(bold=True)
QUIET = Style(dim=True)


def field(index: int) -> Style:
    """Return the colours of the field of the `index`-th job; they repeat after a dozen."""
    background, text = FIELDS[index % len(FIELDS)]
    return Style(color=f"color({text})", bgcolor=f"color({background})", bold=True)


def word(meaning: str) -> Style:
    """Return the colour of a word such as a job's state."""
    return Style(color=f"color({WORDS[meaning]})")
