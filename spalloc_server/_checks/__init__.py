"""Values from outside, checked: places, links, addresses, settings, numbers and texts.

Owns the checks that a machine's description and the arguments of commands pass, and the way in
which errors quote values.  Must not know configurations as a whole, jobs or the protocol.  May
import `links`, `_places` and `_access`.
"""
