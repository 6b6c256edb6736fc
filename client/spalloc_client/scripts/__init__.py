"""The commands: spalloc, spalloc-ps, spalloc-machine, spalloc-job, spalloc-where-is."""
