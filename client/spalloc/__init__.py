"""The name that `spalloc_client` had until version 6.0.0, for the same objects."""

from spalloc_client import *  # noqa: F403
from spalloc_client import __all__ as __all__
from spalloc_client import __version__ as __version__

from spalloc import errors as errors
from spalloc import job as job
from spalloc import protocol_client as protocol_client
from spalloc import states as states
