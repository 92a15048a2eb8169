"""Rebind: a replica's gRPC server listens on its node's own address alone.

Serve opens it on all interfaces, whatever `host` says, and it unpickles what it is sent. Ray's token keeps strangers out; the
address keeps them from asking.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from raygen.errors import EngineError
from raygen.serve.cluster.private import replace_grpc_bind
from raygen.serve.cluster.sockets import exposed, listeners

TRUSTED = (
    "RAYGEN_TRUST_NETWORK"  # set by --trust-network: all that can reach this machine may reach its replicas
)


# On which this process's servers listen. What else of Ray listens here goes by the node's address, and its token.
_ports: set[int] = set()


def rebind() -> None:
    """Let this process's replica listen on the node's own address. To be called in a deployment's constructor.

    Raises:
        EngineError: this Ray Serve cannot be told to, and the network is not said to be trusted.
    """
    try:
        replace_grpc_bind(_bind)
    except (ImportError, AttributeError) as error:
        if TRUSTED not in os.environ:
            raise EngineError(
                "this version of Ray Serve cannot be kept from listening on all interfaces "
                f"({type(error).__name__}); use ray 2.60, or start with --trust-network"
            ) from None


def check_rebound() -> None:
    """Raise EngineError if this replica's server is not where `rebind` wanted it, and the network is not said to be trusted."""
    if TRUSTED in os.environ:
        return
    if not _ports:
        raise EngineError(
            "a replica's server did not ask for its address: this version of Ray Serve is not known"
        )
    if found := _ports.intersection(port for _, port in exposed(listeners())):
        ports = ", ".join(map(str, sorted(found)))
        raise EngineError(f"a replica listens on all interfaces, port {ports}: its address could not be set")


def _bind(own: Callable[[Any, str], int], server: Any, address: str) -> int:
    """Give the server the port of `address` on this node's own address."""
    import ray

    node = ray.util.get_node_ip_address()
    host = f"[{node}]" if ":" in node else node
    port = own(server, f"{host}:{address.rpartition(':')[2]}")
    _ports.add(port)
    return port
