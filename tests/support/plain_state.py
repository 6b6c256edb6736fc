"""A checker of saved states: nothing but plain builtins."""

_LEAVES = (int, float, str, bool, type(None))


def assert_plain(state: object) -> None:
    """Walk a state; no class of ours, nor any enumeration, may be in it."""
    if type(state) is dict:
        for key, value in state.items():
            assert_plain(key)
            assert_plain(value)
    elif type(state) in {list, tuple, set, frozenset}:
        for item in state:  # type: ignore[attr-defined]
            assert_plain(item)
    else:
        assert type(state) in _LEAVES, f"{state!r} is a {type(state).__name__}"
