"""Server-sent events: frames made of pictures, each encoded once for all open pages.

Owns the open streams.  Knows nothing of the server's protocol, and of HTTP only the writing of
one response.  Imports ``_shown`` and ``_facility``.
"""
