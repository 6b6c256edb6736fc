"""Values of a configuration, checked: places, links and addresses.

Owns the checks that a machine's description passes.  Must not know
configurations as a whole.  May import `links`.
"""
