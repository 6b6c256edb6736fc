"""Jobs and machines under one lock: the parts of a controller.

Owns a job's life from its creation to the return of its boards, the frames'
threads and the boards out of service.  Must not know sockets, clients or
programs.  May import all modules below `controller`, and `_bmp`.
"""
