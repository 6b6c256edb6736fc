"""Users that log in: their file, their passwords, their sessions, and the delays of wrong tries.

Knows nothing of HTTP, pages or the server.  Imports nothing of this distribution's other packages
but the settings.
"""
