"""A state on disk: snapshots, the journal, the lock and recovery.

Owns every file in which a server's state is kept, and every call that reads or
changes them.  Must not know jobs, machines or clients: a state is one dict of
plain builtins.  May import `_clock` alone.
"""
