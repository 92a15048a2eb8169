"""Listening: the address that a service is reached at, taken before anything is loaded."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from raygen.errors import ConfigError


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that has the port; 0: the system chooses one. It does not listen yet. Raises ConfigError: it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY: else every answer waits 40 ms for an acknowledgement.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ConfigError(
            f"--host {host} --port {port}: {error.strerror}; choose another with --port"
        ) from None
    return found
