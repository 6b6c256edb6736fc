"""Which boards a request gets: the parts of an allocator.

Owns the judging of blocks, single boards, resting boards and remembered
verdicts.  Must not know queues, jobs or hardware.  May import `links`,
`coordinates`, `area_to_rect`, `pack_tree` and `_clock`.
"""
