"""Addresses that only this machine reaches."""

import ipaddress
import socket

from fas_jax.base.errors import UserError


def loopback(host: str) -> str:
    """The numeric address of a name of this machine that no other machine reaches.

    Raises:
        UserError: It is another address.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise UserError(f"the page is for this machine alone: host must be 127.0.0.1, ::1 or localhost, not {host!r}")
    return str(address)


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens at a numeric address.

    Raises:
        UserError: The port cannot be used.
    """
    found = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setblocking(False)
        found.bind((address, port))
        found.listen(64)
    except OSError as error:
        found.close()
        raise UserError(
            f"port {port} of {address} cannot be used ({error.strerror}); name another by --port"
        ) from error
    return found
