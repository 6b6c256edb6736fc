"""Lines for people and programs, written without keeping anybody waiting.

Owns the threads that write logs, and the files and streams that they write to.  Must
not know jobs or servers.  May import `_clock`.
"""
