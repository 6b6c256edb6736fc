"""The program ``spalloc-history``: past jobs, their waits, and replays of them.

Owns the history database, its upgrades and the questions asked of it; the process that
follows a server's events; the reader of old job logs; simulated traces and replays.

Must not know the server's insides, apart from three things: `replay` and the simulation run
the real `JobQueue` under a clock moved by hand, `replay` reads a configuration file, and the
program announces itself to systemd as the server does.  A server is only ever reached through
its protocol.

Imports the standard library, rich, and, only in the modules of the database, SQLAlchemy and
Alembic: these come with the extra ``history``.
"""
