"""The configuration that is simulated if none is given."""

FILENAME = "built-in"
"""What to call it in messages; there is no such file."""

CONFIGURATION = """\
# One frame of 24 boards: 4 x 2 triads.
configuration = Configuration(
    machines=[
        Machine.with_standard_ips(
            "simulated",
            width=4,
            height=2,
            board_locations={
                (x, y, z): (0, 0, (y * 4 + x) * 3 + z)
                for y in range(2)
                for x in range(4)
                for z in range(3)
            },
        )
    ]
)
"""
"""Text of a configuration file."""
