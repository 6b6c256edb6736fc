"""One frame's hardware: requests, their order, and the packets to the BMP.

Owns everything between a request for boards and links of one frame and its
outcome.  Must not know jobs or machines.  May import `_clock` and `links`.
"""
