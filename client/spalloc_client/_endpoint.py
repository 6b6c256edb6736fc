"""A server's door: a host and a port, with TLS or without, or a Unix socket.

It opens sockets, and hides how sockets with TLS say that they would have to wait.
"""

import os
import socket
import ssl

from spalloc_client._address import address_text, check_hostname, socket_path
from spalloc_client.errors import ConfigError

#: How the kernel finds out that the other machine is gone (not merely slow): after 15 s
#: of silence it asks, every 5 s, and gives up after four.  # arbitrary
_TCP_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 35_000),
)


#: Seconds that a server may take to begin TLS.  # arbitrary
_PATIENCE_WITH_TLS = 30.0


class Endpoint:
    """Where a server is, and how it is spoken to.

    Parameters
    ----------
    hostname : str
        Name or address of the host; or the absolute path of a Unix socket, also as
        ``unix:PATH``.
    port : int
        TCP port; of no meaning for a Unix socket.
    tls : bool
        Whether to encrypt, and to make sure of the server.
    ca : str, optional
        File with the certificates of authorities to trust, instead of the system's.
    cert, key : str, optional
        Files with a certificate of our own and its key, for servers that ask for one. The
        key may stand in the certificate's file, and must not need a password.

    Raises
    ------
    ValueError
        If the host name cannot be one, or a file cannot be used.
    """

    def __init__(
        self,
        hostname: str,
        port: int,
        *,
        tls: bool = False,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
    ) -> None:
        self.hostname = check_hostname(hostname)
        self.port = port
        self.path = socket_path(self.hostname)
        if tls and self.path is not None:
            raise ConfigError("a Unix socket has no TLS, and needs none")
        self.text = self.hostname if self.path else address_text(self.hostname, port)
        self._context = _context(ca, cert, key) if tls else None
        #: The files that another program needs to open the same door; None without TLS.
        self.tls_files = {"ca": _full(ca), "cert": _full(cert), "key": _full(key)} if tls else None

    @property
    def is_plain(self) -> bool:
        """Whether it is reached over TCP without TLS."""
        return self.path is None and self._context is None

    def connect(self, timeout: float | None = None) -> socket.socket:
        """Open a connection; the socket is non-blocking after that.

        Raises
        ------
        OSError
            If it cannot be opened; also where the server's certificate is not trusted.
        """
        if self.path is not None:
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            plain = socket.create_connection((self.hostname, self.port), timeout)
        try:
            plain.settimeout(timeout)
            if self.path is not None:
                plain.connect(self.path)
            else:
                for option in _TCP_OPTIONS:
                    plain.setsockopt(*option)
            if self._context is not None:
                # A server that says nothing would hold our thread for ever.
                plain.settimeout(timeout or _PATIENCE_WITH_TLS)
                plain = self._wrapped(plain, self._context)
            plain.setblocking(False)
        except BaseException:
            plain.close()
            raise
        return plain

    def _wrapped(self, plain: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Agree upon TLS with the server."""
        try:
            return context.wrap_socket(plain, server_hostname=self.hostname)
        except (ssl.SSLEOFError, ConnectionResetError):
            # As our server does, to whom the greeting is no command.
            raise OSError("it broke off the TLS handshake; it may not speak TLS here") from None


def receive(connection: socket.socket) -> bytes | None:
    """Read the bytes that are there; None if there are none just now, empty at the end."""
    try:
        data = connection.recv(1 << 16)
        # The kernel knows nothing of the bytes that TLS has decrypted already.
        while data and isinstance(connection, ssl.SSLSocket) and connection.pending():
            data += connection.recv(1 << 16)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    return data


def send(connection: socket.socket, data: bytes) -> int:
    """Write as much as there is room for just now; returns how much that was."""
    try:
        return connection.send(data)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0


def words(error: Exception) -> str:
    """Tell an error's words without its number."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        plain = ("wrong version number", "record layer failure")
        return "it does not speak TLS" if reason in plain else f"TLS failed: {reason}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


#: Words for OpenSSL's "PEM lib"; with True, if no key was named.
_NO_PEM = {
    True: "it holds no certificate with its key; a key in a file of its own is named by key",
    False: "one of them is not in PEM, or the key has a password",
}


def _context(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    if key is not None and cert is None:
        raise ConfigError("key needs cert, the certificate that it belongs to")
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"ca: {ca} cannot be used: {words(exc)}") from None
    if cert is not None:
        try:
            # An empty password: no question appears on the terminal.
            context.load_cert_chain(cert, key, password=b"")
        except (OSError, ValueError) as exc:
            files = cert if key is None else f"{cert} with key {key}"
            why = _NO_PEM[key is None] if "PEM lib" in str(exc) else words(exc)
            raise ConfigError(f"cert: {files} cannot be used: {why}") from None
    return context


def _full(filename: str | None) -> str | None:
    return None if filename is None else os.path.abspath(filename)  # noqa: PTH100 (no links)
