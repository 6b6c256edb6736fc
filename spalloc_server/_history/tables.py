"""The tables of the history database.

Owns their columns and indices; how they came about, version by version, is in `migrations`.
All times are Unix seconds, UTC.  Nothing here is SQLite's alone.

::

    names <---- jobs ----> machines <---- sizes
                 |  ^          ^
                 v  |          |
                 places --------        faults, reports, rollups: by machine, too
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

#: The primary keys count up by themselves, which SQLite does for INTEGER alone.
_KEY = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Owners, hosts and networks.  After `keep_names_days` a job's owner and host are rows that
#: hold pseudonyms, and names that no job has any more are deleted.
names = Table(
    "names",
    metadata,
    Column("id", _KEY, primary_key=True),
    Column("kind", String(8), nullable=False),  # owner, host, network
    Column("name", Text, nullable=False),
    Column("pseudonym", Boolean, nullable=False),
    UniqueConstraint("kind", "name"),
)

machines = Table(
    "machines",
    metadata,
    Column("id", _KEY, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

#: How large a machine has been from a time on; `live` is 0 once it is removed.
sizes = Table(
    "sizes",
    metadata,
    Column("id", _KEY, primary_key=True),
    Column("machine_id", ForeignKey("machines.id"), nullable=False),
    Column("since", Double, nullable=False),
    Column("width", Integer, nullable=False),  # triads
    Column("height", Integer, nullable=False),
    Column("live", Integer, nullable=False),  # boards
    Index(None, "machine_id", "since"),
)

#: (state, job) names a job for ever.  Jobs from old logs have a negative state.
jobs = Table(
    "jobs",
    metadata,
    Column("id", _KEY, primary_key=True),
    Column("state", BigInteger, nullable=False),
    Column("job", BigInteger, nullable=False),
    Column("owner_id", ForeignKey("names.id"), nullable=False),
    Column("host_id", ForeignKey("names.id")),
    Column("network_id", ForeignKey("names.id")),
    Column("created", Double, nullable=False),
    Column("allocated", Double),  # the first time
    Column("ready", Double),  # the first time
    Column("ended", Double),
    Column("args", Text, nullable=False),  # JSON array
    Column("kwargs", Text, nullable=False),  # JSON object
    Column("asked", Integer, nullable=False),  # boards, those of blocks rounded up
    Column("keepalive", Double),
    Column("place_id", BigInteger),  # the newest of `places`
    Column("machine_id", ForeignKey("machines.id")),  # of that place
    Column("moves", Integer, nullable=False),
    Column("reason", Text),
    Column("ended_by", String(16)),
    Column("ended_by_host_id", ForeignKey("names.id")),
    Column("ended_by_principal_id", ForeignKey("names.id")),
    Column("imported", Boolean, nullable=False),
    UniqueConstraint("job", "state"),
    Index(None, "created", "id"),
    Index(None, "owner_id", "created", "id"),
    Index(None, "machine_id", "created", "id"),
    Index(None, "ended", "id"),
    Index(None, "network_id", "created", "id"),
    Index(None, "host_id"),
    Index(None, "ended_by_host_id"),
    Index(None, "ended_by_principal_id"),
)

#: Each time that a job had boards.  A block is x, y, w, h; a single board x, y, z; where the
#: boards of an old log were nobody knows.
places = Table(
    "places",
    metadata,
    Column("id", _KEY, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("machine_id", ForeignKey("machines.id"), nullable=False),
    Column("x", Integer),
    Column("y", Integer),
    Column("w", Integer),
    Column("h", Integer),
    Column("z", Integer),
    Column("boards", Integer, nullable=False),
    Column("without", Text),  # JSON array of the boards in the block that the job did not get
    Column("waited_since", Double, nullable=False),
    Column("began", Double, nullable=False),
    Column("left", Double),  # the job ended, or moved
    Column("off", Double),  # its boards are off
    Column("fault", Text),  # why the job moved
    Index(None, "job_id"),
    Index(None, "machine_id", "began"),
    Index(None, "left"),
)

#: Boards and frames out of service.  A frame has no x, y, z.
faults = Table(
    "faults",
    metadata,
    Column("id", _KEY, primary_key=True),
    Column("machine_id", ForeignKey("machines.id"), nullable=False),
    Column("x", Integer),
    Column("y", Integer),
    Column("z", Integer),
    Column("cabinet", Integer),
    Column("frame", Integer),
    Column("board", Integer),
    Column("kind", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("sure", Boolean, nullable=False),
    Column("job_id", ForeignKey("jobs.id")),
    Column("since", Double, nullable=False),
    Column("back", Double),
    Column("how", String(16)),
    Index(None, "since"),
    Index(None, "machine_id", "x", "y", "z"),
)

#: Users' reports of boards that do not work.
reports = Table(
    "reports",
    metadata,
    Column("id", _KEY, primary_key=True),
    Column("machine_id", ForeignKey("machines.id"), nullable=False),
    Column("x", Integer, nullable=False),
    Column("y", Integer, nullable=False),
    Column("z", Integer, nullable=False),
    Column("job_id", ForeignKey("jobs.id")),
    Column("host_id", ForeignKey("names.id")),
    Column("time", Double, nullable=False),
    Column("text", Text, nullable=False),
    Column("done", Text),
    Index(None, "time"),
    Index(None, "machine_id", "x", "y", "z"),
)

#: Sums over blocks of days.  `kind` is machine, owner, network or all, `key` the row it is of.
rollups = Table(
    "rollups",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("length", Integer, primary_key=True, autoincrement=False),  # days
    Column("since", Integer, primary_key=True, autoincrement=False),  # days since 1970-01-01
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("jobs", Integer, nullable=False),  # created
    Column("board_seconds", Double, nullable=False),
    Column("waits", Text, nullable=False),  # see `histogram`, of first allocations
)

#: How far the follower has read: one row, written with the events' own transaction.
cursor = Table(
    "cursor",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("server", Text, nullable=False),
    Column("after", BigInteger, nullable=False),
    Column("state", BigInteger),
    Column("read", Double, nullable=False),  # when the server was last asked
    Column("lost", Integer, nullable=False),  # how often the next events were lost
    Column("keep_names_days", Integer),
)

#: Small things the program keeps, by name.
settings = Table(
    "settings",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)
