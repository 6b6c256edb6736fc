"""Tests of `spalloc_server._history`."""
