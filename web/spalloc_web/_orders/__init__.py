"""Orders that people give on the pages: questions before them, and results after them.

Owns the words of each order, and which command of the server it is.  Knows nothing of HTTP;
imports ``_accounts`` and ``_facility``.
"""
