"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    _make_cursor()
    _make_machines()
    _make_names()
    _make_rollups()
    _make_settings()
    _make_jobs()
    _make_sizes()
    _make_faults()
    _make_places()
    _make_reports()


def _make_cursor() -> None:
    op.create_table(
        "cursor",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("after", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.BigInteger(), nullable=True),
        sa.Column("read", sa.Double(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("keep_names_days", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_cursor"),
    )


def _make_machines() -> None:
    op.create_table(
        "machines",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_machines"),
        sa.UniqueConstraint("name", name="uq_machines_name"),
    )


def _make_names() -> None:
    op.create_table(
        "names",
        sa.Column("id", KEY, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pseudonym", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_names"),
        sa.UniqueConstraint("kind", "name", name="uq_names_kind_name"),
    )


def _make_rollups() -> None:
    op.create_table(
        "rollups",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("length", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("board_seconds", sa.Double(), nullable=False),
        sa.Column("waits", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "length", "since", "key", name="pk_rollups"),
    )


def _make_settings() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", KEY, nullable=False),
        sa.Column("state", sa.BigInteger(), nullable=False),
        sa.Column("job", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", KEY, nullable=False),
        sa.Column("host_id", KEY, nullable=True),
        sa.Column("network_id", KEY, nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("allocated", sa.Double(), nullable=True),
        sa.Column("ready", sa.Double(), nullable=True),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("kwargs", sa.Text(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("keepalive", sa.Double(), nullable=True),
        sa.Column("place_id", sa.BigInteger(), nullable=True),
        sa.Column("machine_id", KEY, nullable=True),
        sa.Column("moves", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ended_by", sa.String(length=16), nullable=True),
        sa.Column("ended_by_host_id", KEY, nullable=True),
        sa.Column("ended_by_principal_id", KEY, nullable=True),
        sa.Column("imported", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ended_by_host_id"], ["names.id"], name="fk_jobs_ended_by_host_id"
        ),
        sa.ForeignKeyConstraint(
            ["ended_by_principal_id"], ["names.id"], name="fk_jobs_ended_by_principal_id"
        ),
        sa.ForeignKeyConstraint(["host_id"], ["names.id"], name="fk_jobs_host_id"),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="fk_jobs_machine_id"),
        sa.ForeignKeyConstraint(["network_id"], ["names.id"], name="fk_jobs_network_id"),
        sa.ForeignKeyConstraint(["owner_id"], ["names.id"], name="fk_jobs_owner_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("job", "state", name="uq_jobs_job_state"),
    )
    op.create_index("ix_jobs_created_id", "jobs", ["created", "id"])
    op.create_index("ix_jobs_ended_by_host_id", "jobs", ["ended_by_host_id"])
    op.create_index("ix_jobs_ended_by_principal_id", "jobs", ["ended_by_principal_id"])
    op.create_index("ix_jobs_ended_id", "jobs", ["ended", "id"])
    op.create_index("ix_jobs_host_id", "jobs", ["host_id"])
    op.create_index("ix_jobs_machine_id_created_id", "jobs", ["machine_id", "created", "id"])
    op.create_index("ix_jobs_network_id_created_id", "jobs", ["network_id", "created", "id"])
    op.create_index("ix_jobs_owner_id_created_id", "jobs", ["owner_id", "created", "id"])


def _make_sizes() -> None:
    op.create_table(
        "sizes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("machine_id", KEY, nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("live", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="fk_sizes_machine_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sizes"),
    )
    op.create_index("ix_sizes_machine_id_since", "sizes", ["machine_id", "since"])


def _make_faults() -> None:
    op.create_table(
        "faults",
        sa.Column("id", KEY, nullable=False),
        sa.Column("machine_id", KEY, nullable=False),
        sa.Column("x", sa.Integer(), nullable=True),
        sa.Column("y", sa.Integer(), nullable=True),
        sa.Column("z", sa.Integer(), nullable=True),
        sa.Column("cabinet", sa.Integer(), nullable=True),
        sa.Column("frame", sa.Integer(), nullable=True),
        sa.Column("board", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sure", sa.Boolean(), nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("back", sa.Double(), nullable=True),
        sa.Column("how", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_faults_job_id"),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="fk_faults_machine_id"),
        sa.PrimaryKeyConstraint("id", name="pk_faults"),
    )
    op.create_index("ix_faults_machine_id_x_y_z", "faults", ["machine_id", "x", "y", "z"])
    op.create_index("ix_faults_since", "faults", ["since"])


def _make_places() -> None:
    op.create_table(
        "places",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("machine_id", KEY, nullable=False),
        sa.Column("x", sa.Integer(), nullable=True),
        sa.Column("y", sa.Integer(), nullable=True),
        sa.Column("w", sa.Integer(), nullable=True),
        sa.Column("h", sa.Integer(), nullable=True),
        sa.Column("z", sa.Integer(), nullable=True),
        sa.Column("boards", sa.Integer(), nullable=False),
        sa.Column("without", sa.Text(), nullable=True),
        sa.Column("waited_since", sa.Double(), nullable=False),
        sa.Column("began", sa.Double(), nullable=False),
        sa.Column("left", sa.Double(), nullable=True),
        sa.Column("off", sa.Double(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_places_job_id"),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="fk_places_machine_id"),
        sa.PrimaryKeyConstraint("id", name="pk_places"),
    )
    op.create_index("ix_places_job_id", "places", ["job_id"])
    op.create_index("ix_places_left", "places", ["left"])
    op.create_index("ix_places_machine_id_began", "places", ["machine_id", "began"])


def _make_reports() -> None:
    op.create_table(
        "reports",
        sa.Column("id", KEY, nullable=False),
        sa.Column("machine_id", KEY, nullable=False),
        sa.Column("x", sa.Integer(), nullable=False),
        sa.Column("y", sa.Integer(), nullable=False),
        sa.Column("z", sa.Integer(), nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("host_id", KEY, nullable=True),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("done", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["names.id"], name="fk_reports_host_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_reports_job_id"),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="fk_reports_machine_id"),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
    )
    op.create_index("ix_reports_machine_id_x_y_z", "reports", ["machine_id", "x", "y", "z"])
    op.create_index("ix_reports_time", "reports", ["time"])
