"""Which boards a request gets: the parts of an allocator.

Owns the judging of blocks, single boards, resting boards and remembered
verdicts, and the finding of places by bit masks.  Must not know queues, jobs or
hardware.  May import `links`, `coordinates`, `area_to_rect`, `pack_tree`,
`_places` and `_clock`.
"""
