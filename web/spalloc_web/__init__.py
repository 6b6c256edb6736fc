"""Live web pages of the boards that a spalloc server shares.

A process of its own and a client of the server's protocol: the pages are read-only, and
nothing here can delay or harm the server.  Packages, from the bottom up:

``_facility``
    the connection to the server, and the picture of its machines and jobs;
``_past``
    questions to the history database;
``_live``
    frames of server-sent events, made of pictures;
``_notices``
    messages to administrators;
``_api``
    JSON for programs;
``_pages``
    HTML for people.
"""

from spalloc_web._version import __version__

__all__ = ["__version__"]
