"""How the database's tables came about, one module of `versions` for each change.

A module is never changed once it has been released: a database is brought from any older
version to today's by running all those that it has not seen.
"""
