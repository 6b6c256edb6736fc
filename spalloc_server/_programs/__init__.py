"""Programs that a person starts: options, output, exit statuses.

Owns the command lines, the log, the metrics page and the conversation with the
service manager.  Must not be imported by any other package.  May import all
modules but `server`; `server.main` hands in a function that looks the class up.
"""
