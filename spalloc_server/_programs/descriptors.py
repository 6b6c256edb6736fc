"""How many files and sockets the process may have open.

Owns the limit, which is raised as far as it goes: each client and each frame is one.
"""

from __future__ import annotations

import logging
import resource

log = logging.getLogger(__name__)

#: Descriptors beyond which more are no use to anybody. # arbitrary
_PLENTY = 1 << 20


def raise_limit() -> int:
    """Raise the soft limit to the hard one.

    Returns
    -------
    int
        The limit from now on.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _PLENTY if hard == resource.RLIM_INFINITY else min(hard, _PLENTY)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _PLENTY if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("at most %d files and connections may be open: %s", soft, error)
        return soft
    return wanted
