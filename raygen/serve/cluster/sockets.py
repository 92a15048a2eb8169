"""Sockets: on which addresses a process listens, as the kernel tells. Linux alone; elsewhere nothing is told."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

LISTENING = "0A"  # the state, in /proc/net/tcp

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def listeners(pid: int | None = None) -> list[tuple[Address, int]]:
    """Return the addresses and ports on which a process accepts TCP connections.

    Args:
        pid: of the process; this one if None.
    """
    place = Path("/proc") / (str(pid) if pid is not None else "self")
    mine = set(_sockets(place / "fd"))
    return [(address, port) for inode, address, port in _listening(place / "net") if inode in mine]


def exposed(found: list[tuple[Address, int]]) -> list[tuple[Address, int]]:
    """Return those that other machines may reach by any of this one's addresses."""
    return [(address, port) for address, port in found if address.is_unspecified]


def _sockets(folder: Path) -> Iterator[str]:
    """Yield the inodes of a process's sockets."""
    try:
        names = os.listdir(folder)
    except OSError:  # no Linux, or the process is gone or another user's
        return
    for name in names:
        try:
            target = os.readlink(folder / name)
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def _listening(folder: Path) -> Iterator[tuple[str, Address, int]]:
    """Yield inode, address and port of all listening sockets of a process's network."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (folder / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            parts = line.split()
            if parts[3] == LISTENING:
                host, _, port = parts[1].partition(":")
                yield parts[9], _address(host), int(port, 16)


def _address(text: str) -> Address:
    """Read an address: hexadecimal words of four bytes, each in the machine's own order."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
