"""Measures this server beside the public one it replaces; see README.rst."""
