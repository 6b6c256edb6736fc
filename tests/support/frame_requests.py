"""Requests to a frame, made from short texts."""

from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server.links import Links


def asking(text: str) -> AtomicRequests:
    """Requests from a text like ``"+1 ~1 -2"``: 1 on, a link of 1, 2 off."""
    requests = AtomicRequests(lambda *_: None)
    for word in text.split():
        board = int(word[1:])
        if word[0] == "~":
            requests.link(board, Links.north, False)
        else:
            requests.power(board, word[0] == "+")
    return requests
