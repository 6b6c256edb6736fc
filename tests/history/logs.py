"""Job logs as servers wrote them."""

#: Of this server, version 1.1.
OURS = """\
2026-11-28 14:06:42,265 job 1: created () owner=ada lovelace keepalive=None host=127.0.0.1
2026-11-28 14:06:42,266 job 1: power on: board (0, 0, 0) of m (cabinet 0, frame 0, board 0, BMP 127.122.0.0)
2026-11-28 14:06:42,266 job 1: links off: board (0, 0, 0) east north_east north west south_west south of m (cabinet 0, frame 0, board 0, BMP 127.122.0.0)
2026-11-28 14:06:42,275 job 2: created (3, tags={'default'}, max_dead_boards=0) owner=bob, (x) owner=c keepalive=90.0 host=127.0.0.1
2026-11-28 14:06:42,287 job 2: power on: boards (0, 1, 0), (0, 1, 1), (0, 1, 2) of m (cabinet 0, frame 0, boards 12, 13, 14, BMP 127.122.0.0)
2026-11-28 14:06:42,290 job 3: created (4, 2) owner=carl keepalive=None host=127.0.0.1
2026-11-28 14:06:42,296 job 4: created (50, 50) owner=dora keepalive=None host=127.0.0.1
2026-11-28 14:06:42,297 job 4: destroyed: Cancelled: No suitable machines available. (by request)
2026-11-28 14:06:42,508 job 1: ready
2026-11-28 14:06:42,510 job 2: ready
2026-11-28 14:06:44,298 job 1: power off: board (0, 0, 0) of m (cabinet 0, frame 0, board 0, BMP 127.122.0.0)
2026-11-28 14:06:44,300 job 2: destroyed: enough\\nof it (by client 127.0.0.1)
2026-11-28 14:06:44,300 job 2: power off: boards (0, 1, 0), (0, 1, 1), (0, 1, 2) of m (cabinet 0, frame 0, boards 12, 13, 14, BMP 127.122.0.0)
2026-11-28 14:06:44,304 job 1: destroyed: no reason given (by client 127.0.0.1)
2026-11-28 14:06:46,307 job 3: destroyed: Cancelled: no more (by client 127.0.0.1)
2026-11-28 14:06:47,000 server shut down
"""  # noqa: E501 - as they are

#: Of this server, version 1.0: a line for each board.
OURS_1_0 = """\
2026-03-01 09:00:00,000 job 7: created (1, 1, machine='m') owner=eve keepalive=60.0 host=None
2026-03-01 09:00:05,000 job 7: power on: board (2, 1, 0) of m (cabinet 0, frame 0, board 3, BMP b)
2026-03-01 09:00:05,000 job 7: power on: board (2, 1, 1) of m (cabinet 0, frame 0, board 4, BMP b)
2026-03-01 09:00:05,000 job 7: links off: east, north of board (2, 1, 0)
2026-03-01 09:00:06,000 job 7: back in the queue, move 1 of 3: power on refused
2026-03-01 09:00:30,000 job 7: power on: board (3, 1, 0) of m (cabinet 0, frame 0, board 5, BMP b)
2026-03-01 09:00:30,000 job 7: power on: board (3, 1, 1) of m (cabinet 0, frame 0, board 6, BMP b)
2026-03-01 09:00:30,000 job 7: power on: board (3, 1, 2) of m (cabinet 0, frame 0, board 7, BMP b)
2026-03-01 09:10:00,000 job 7: power on: board (3, 1, 0) of m (cabinet 0, frame 0, board 5, BMP b)
2026-03-01 09:20:00,000 job 7: destroyed: None
"""

#: Of the original, version 1!7.0.0.
ORIGINALS = """\
2019-11-28 14:06:48,045: create_job((),{'owner': 'ada lovelace', 'keepalive': None}) from 10.0.0.1
2019-11-28 14:06:48,045: power_job(1,On) from 10.0.0.1
2019-11-28 14:06:48,045: power(0, True) on BMP 10.114.0.0 for job 1
2019-11-28 14:06:48,045: link(0, 1, False) on BMP 10.114.0.0 for job 1
2019-11-28 14:06:48,046: create_job((3,),{'owner': 'bob', 'keepalive': 90.0, 'tags': {'default'}}) from 10.0.0.1
2019-11-28 14:06:48,046: power_job(2,On) from 10.0.0.1
2019-11-28 14:06:48,046: power(14, True) on BMP 10.114.0.0 for job 2
2019-11-28 14:06:48,046: power(12, True) on BMP 10.114.0.0 for job 2
2019-11-28 14:06:48,047: power(13, True) on BMP 10.114.0.0 for job 2
2019-11-28 14:06:48,047: create_job((4, 2),{'owner': 'carl', 'keepalive': None, 'machine': None}) from 10.0.0.1
2019-11-28 14:06:48,051: create_job((50, 50),{'owner': 'dora', 'keepalive': None}) from 10.0.0.1
2019-11-28 14:06:48,051: completed shutdown of job 4 (owner-host: 10.0.0.1)
2019-11-28 14:06:55,055: power_job(1,Off) from 10.0.0.1
2019-11-28 14:06:55,056: power(0, False) on BMP 10.114.0.0 for job 1
2019-11-28 14:06:55,059: destroy_job(2,enough
of it) from 10.0.0.1
2019-11-28 14:06:55,059: power(14, False) on BMP 10.114.0.0 for job 2
2019-11-28 14:06:55,059: completed shutdown of job 2 (owner-host: 10.0.0.1)
2019-11-28 14:06:55,060: destroy_job(1,Job timed out.) from internal
2019-11-28 14:06:55,060: completed shutdown of job 1 (owner-host: 10.0.0.1)
2019-11-28 14:07:02,069: destroy_job(3) from 10.0.0.1
2019-11-28 14:07:02,069: completed shutdown of job 3 (owner-host: 10.0.0.1)
"""  # noqa: E501 - as they are

#: A configuration in which the original's log finds its boards.
CONFIGURATION = """\
configuration = Configuration(machines=[
    Machine.with_standard_ips(
        "m",
        board_locations={
            (x, y, z): (0, 0, (x + 4 * y) * 3 + z)
            for x in range(4) for y in range(2) for z in range(3)
        },
        base_ip="10.114.0.0",
    )
])
"""
