"""HTTP: pages for people, JSON for programs, files, and the rules for every answer.

Imports all of this distribution's other packages; none imports it.
"""
