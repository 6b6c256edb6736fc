"""Access: rules, principals, and the judgement of each command.

Owns the policy of a configuration, the identity behind a connection and the table
of commands by class.  Must not know sockets, jobs or files.  May import `_clock`
alone.
"""
