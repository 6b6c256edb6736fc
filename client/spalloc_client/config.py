"""The settings that arguments need not give: INI files with a section ``[spalloc]``.

::

    [spalloc]
    hostname = spalloc.example.org
    owner = me@example.org

``python -m spalloc_client.config`` prints where files are looked for, and what they say.
"""

import sys
from collections.abc import Sequence

from spalloc_client._program import run
from spalloc_client._settings import Settings, merge, read_sources, search_path
from spalloc_client.errors import ConfigError

__all__ = ["ConfigError", "Settings", "main", "read_config", "search_path"]


def read_config(filenames: Sequence[str] | None = None) -> Settings:
    """Read the configuration.

    Parameters
    ----------
    filenames : sequence of str, optional
        Files in rising priority instead of those of the `search_path`; those that do not
        exist are passed over.

    Returns
    -------
    Settings
        A named tuple: hostname, owner, port, keepalive, reconnect_delay, timeout,
        machine, tags, min_ratio, max_dead_boards, max_dead_links, require_torus.

    Raises
    ------
    ConfigError
        If a value is bad; the text names file, option and what is allowed.
    """
    return merge(read_sources(search_path() if filenames is None else filenames))


def main(argv: Sequence[str] | None = None) -> int:
    """Print where configuration is looked for and what it comes to."""
    return run("spalloc_client.config", _show, argv)


def _show(_argv: Sequence[str] | None) -> int:
    places = search_path()
    print("Places, rising priority:")
    try:
        sources = [(place, read_sources([place])) for place in places]
    except ConfigError:
        for place in places:
            print(f"  {place}")
        raise
    for place, found in sources:
        print(f"  {place}" + ("" if found else "  (not there)"))
        for source in found:
            for option in source.unknown:
                print(f"    {option} is no option of ours")
    print("Settings:")
    everything = [source for _, found in sources for source in found]
    for option, value in merge(everything)._asdict().items():
        setter = [source.filename for source in everything if option in source.values][-1:]
        origin = f"  (from {setter[0]})" if setter else ""
        shown = ", ".join(value) if isinstance(value, list) else value
        print(f"  {option} = {shown}{origin}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
