"""How quick the pages are: ``python -m benchmarks`` in this folder."""
