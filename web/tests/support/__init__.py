"""Helpers of the tests: a stand-in for the server, and a browser."""
