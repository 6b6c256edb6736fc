"""Clients and operators: sockets, lines, replies and notifications.

Owns every connection to the server and the loop that serves them.  Must not
know the programs that start a server.  May import `controller`,
`polling_server_core`, `configuration_reloader` and `_jobs`.
"""
