"""All that may be shown to a reader, as values that become JSON.

Owns the shapes of the JSON interface and of the frames of events, and the rule that readers
not logged in see no owner, host or text unless the administrator allows it.  Knows
nothing of HTTP.
"""
