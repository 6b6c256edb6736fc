"""Messages to administrators: boards and frames out, reports, disk trouble.

Never holds anything up: messages are sent by threads of their own, tried again, made into a
digest when there are many, and given up after a day.
"""
