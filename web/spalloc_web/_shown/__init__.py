"""What may be shown to whom, as values that become JSON.

Owns the shapes of the JSON interface and of the frames of events, and the rule that readers
who are not logged in see no owner, host or text unless the administrator allows it.  Knows
nothing of HTTP.
"""
