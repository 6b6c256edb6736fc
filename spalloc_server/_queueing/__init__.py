"""Which job is next: the parts of a job queue.

Owns the machines' queues and the record of the boards that each job holds.
Must not know hardware, clients or files.  May import `allocator` and
`_allocation`.
"""
