"""Questions to the history database that ``spalloc-history`` keeps.

Reads only.  Each question runs in a thread and is cut off after five seconds; a database that
is missing, locked or broken is told as `HistoryAwayError`, and live pages go on.
"""
