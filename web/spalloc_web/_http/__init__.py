"""HTTP: pages for people, JSON for programs, files, and what holds for every answer.

Imports all of this distribution's other packages; none imports it.
"""
