"""Addresses of servers: texts that can be host names, and how an address is shown."""

import ipaddress
import re
from urllib.parse import urlsplit

#: Characters that no host name has, and that show something else was meant.
_FOREIGN = re.compile(r"""[\s/\\'"<>,;?#@\[\]]""")


def check_hostname(text: str) -> str:
    """Make sure that a text can be a host name.

    Parameters
    ----------
    text : str
        A name or an address; an IPv6 address may stand in brackets. Or the absolute path
        of a Unix socket, also as ``unix:PATH``.

    Returns
    -------
    str
        The text, without brackets.

    Raises
    ------
    ValueError
        If it cannot. The message tells the right way to say it, and never shows the user
        part of a URL, which may hold a password.
    """
    if socket_path(text) is not None:
        return text
    if "://" in text:
        raise ValueError("must be a host name, not a URL" + _instead(text))
    if "@" in text:
        raise ValueError("must be a host name alone, without a user" + _instead(f"x://{text}"))
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if _is_ipv6(bare):
        return bare
    if match := re.fullmatch(r"\[?([^\[\]]+?)\]?:(\d*)", text):
        raise ValueError(f"must be a host name alone; give {match[1]}, and {match[2]} as the port")
    if not text:
        raise ValueError("must be a host name, not an empty text")
    if (match := _FOREIGN.search(text)) or ":" in text:
        sign = match[0] if match else ":"
        raise ValueError(f"must be a host name, not {text!r}, which has {sign!r} in it")
    return text


def socket_path(text: str) -> str | None:
    """Return the path of the Unix socket that a text names; None if it names none."""
    path = text.removeprefix("unix:")
    return path if path.startswith("/") else None


def address_text(hostname: str, port: int) -> str:
    """Tell a host and a port as one word."""
    return f"[{hostname}]:{port}" if ":" in hostname else f"{hostname}:{port}"


def _is_ipv6(text: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(text), ipaddress.IPv6Address)
    except ValueError:
        return False


def _instead(url: str) -> str:
    """Tell the parts of a URL that are of use."""
    try:
        host, port = urlsplit(url).hostname, urlsplit(url).port
    except ValueError:
        return ""
    if not host or _FOREIGN.search(host):
        return ""
    return f"; give {host}" + ("" if port is None else f", and {port} as the port")
