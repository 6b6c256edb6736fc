"""Whether this process is a service whose connections outlive it.

Looks at the environment that a service manager gives, once, at the start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping
from typing import Any

from spalloc_server._wire.carrier import Carrier
from spalloc_server._wire.fd_store import FdStore, take_inherited

log = logging.getLogger(__name__)


def carrier_options(environ: MutableMapping[str, str] | None = None) -> dict[str, Any]:
    """Return the options with which a server keeps its connections; none if nobody keeps them.

    Parameters
    ----------
    environ : mapping
        Of the process; the variables about inherited descriptors are removed from it.
    """
    environ = os.environ if environ is None else environ
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return {}
    inherited = take_inherited(environ)
    try:
        store = FdStore(address)
    except OSError as e:
        log.warning("connections end with this process: %s", e)
        return {}
    return {"carrier": Carrier(store, inherited)}
