"""Frames of server-sent events as bytes, plain and compressed.

A compressed stream is one gzip stream that never ends: its header is sent once to each page,
and then each frame as deflate blocks of their own, which refer to nothing before them.  So one
compression serves all pages, whenever they came.
"""

from __future__ import annotations

import zlib
from functools import cached_property

import msgspec

#: Header of a gzip stream (RFC 1952): deflate, no flags, no time, unknown system.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
#: A comment, which pages ignore: it shows either end that the other has gone.
HEARTBEAT_TEXT = b": still here\n\n"


class Frame:
    """One frame; encoded when it is first needed, and then kept.

    Parameters
    ----------
    content
        The frame's content, for JSON.
    """

    def __init__(self, content: msgspec.Struct) -> None:
        self._content = content

    @cached_property
    def plain(self) -> bytes:
        """The frame as text."""
        return b"data: " + msgspec.json.encode(self._content) + b"\n\n"

    @cached_property
    def packed(self) -> bytes:
        """The frame as blocks of a gzip stream."""
        return pack(self.plain)

    def bytes_for(self, packed: bool) -> bytes:
        """Return the frame in the form that a page reads."""
        return self.packed if packed else self.plain


def pack(text: bytes) -> bytes:
    """Compress text into deflate blocks that stand alone, ending on a byte.

    Parameters
    ----------
    text
        Any bytes.
    """
    packer = zlib.compressobj(level=5, wbits=-15)
    return packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)


#: The comment in both forms.
HEARTBEAT = {False: HEARTBEAT_TEXT, True: pack(HEARTBEAT_TEXT)}
#: The last frame of a page that may not see any more: it loads itself anew.
_OVER_TEXT = b"event: over\ndata: the session has ended\n\n"
OVER = {False: _OVER_TEXT, True: pack(_OVER_TEXT)}
