"""The server as seen from here: its connection, and the newest picture of all it shares.

Owns the protocol's client side.  Knows nothing of HTTP, pages or the history database.
Imports nothing of this distribution's other packages.
"""
