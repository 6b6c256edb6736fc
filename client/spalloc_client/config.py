"""The settings that arguments need not give: INI files with a section ``[spalloc]``.

::

    [spalloc]
    hostname = spalloc.example.org
    owner = me@example.org

Environment variables beat the files: ``SPALLOC_HOSTNAME``, ``SPALLOC_OWNER``, and so on for
every option. ``python -m spalloc_client.config`` prints where settings are looked for, and
those that are found.
"""

import sys
from collections.abc import Sequence

from spalloc_client._program import run
from spalloc_client._settings import (
    PREFIX,
    Settings,
    log_remarks,
    merge,
    read_environment,
    read_sources,
    search_path,
    usual_sources,
)
from spalloc_client.errors import ConfigError

__all__ = ["ConfigError", "Settings", "main", "read_config", "search_path"]


def read_config(filenames: Sequence[str] | None = None) -> Settings:
    """Read the configuration.

    Parameters
    ----------
    filenames : sequence of str, optional
        Files in rising priority instead of those of the `search_path` and of the
        environment; those that do not exist are passed over.

    Returns
    -------
    Settings
        A named tuple: hostname, owner, port, keepalive, reconnect_delay, timeout,
        machine, tags, min_ratio, max_dead_boards, max_dead_links, require_torus.

    Raises
    ------
    ConfigError
        If a value is bad; the text names file, option and the values that are allowed.
    """
    sources = usual_sources() if filenames is None else read_sources(filenames)
    log_remarks(sources)
    return merge(sources)


def main(argv: Sequence[str] | None = None) -> int:
    """Print where configuration is looked for, and the settings that result."""
    return run("spalloc_client.config", _show, argv)


def _show(_argv: Sequence[str] | None) -> int:
    places = search_path()
    print("Places, rising priority:")
    try:
        sources = [(place, read_sources([place])) for place in places]
        environment = read_environment()
    except ConfigError:
        for place in places:
            print(f"  {place}")
        raise
    for place, found in sources:
        print(f"  {place}" + ("" if found else "  (not there)"))
        for source in found:
            for remark in source.remarks:
                print(f"    {remark}")
    print(f"  environment variables {PREFIX}HOSTNAME, {PREFIX}OWNER ...")
    for remark in environment.remarks:
        print(f"    {remark}")
    print("Settings:")
    everything = [*(source for _, found in sources for source in found), environment]
    for option, value in merge(everything)._asdict().items():
        setter = [source.name for source in everything if option in source.values][-1:]
        origin = f"  (from {setter[0]})" if setter else ""
        shown = ", ".join(value) if isinstance(value, list) else value
        print(f"  {option} = {shown}{origin}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
