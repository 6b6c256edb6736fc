"""Simulated BMPs on loopback, for everybody without a SpiNNaker frame on the desk.

`simulation` is where to begin. It serves `frame` s, which carry out the `packets` that arrive
for their `board` s as the `faults` in force allow, and remember the packets `seen`; `sockets` and
`control` do the talking, `language` and `commands` the steering.

Shares no code with the server's frame threads and imports nothing of SpiNNMan, so that one
misunderstanding cannot hide in both.
"""

from spalloc_server._simulator.simulation import Simulation

__all__ = ("Simulation",)
