"""Loopback addresses of their own for tests that need a fixed port."""

import errno
import random
import socket


def bound_address(port: int) -> tuple[str, socket.socket]:
    """Bind a UDP socket to `port` at some address of 127.0.0.0/8 that nobody uses.

    Parameters
    ----------
    port : int
        The port, the same at every address.

    Returns
    -------
    (str, socket.socket)
        The address and the socket; the caller closes it.
    """
    while True:
        x, y, z = random.randrange(64, 128), random.randrange(256), random.randrange(1, 255)
        address = f"127.{x}.{y}.{z}"
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            bound.bind((address, port))
        except OSError as error:
            bound.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return address, bound
