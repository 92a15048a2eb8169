"""Environment: the variables that every process of Ray needs for a service, set before Ray starts, and checked by the gateway.

On a cluster whoever starts the nodes sets them: the manifests in deploy/kuberay do.
"""

from __future__ import annotations

import os

from raygen.errors import EngineError
from raygen.serve.cluster.private import as_read

# The proxy's middlewares: they refuse and strip in front of Serve, before a body is read.
MIDDLEWARES = "raygen.serve.cluster.proxy:middlewares"

VARIABLES = {
    # Without a token whoever reaches a replica's port runs code in it.
    "RAY_AUTH_MODE": "token",
    # Calls between deployments: half the CPU of Ray's own way.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    # Replicas take no HTTP of their own, past the proxy.
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": MIDDLEWARES,
    # A dead proxy is missed after seconds, not after half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
    # Chunks of batches and pictures are larger than the 4 MiB that gRPC allows by default.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**30),
}


def set_variables() -> None:
    """Set what is not set. What is set to something else stays: `unset` tells of it."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def unset() -> list[str]:
    """Return a line for each variable that this process does not have, or that its Serve did not take."""
    lines = []
    for name, value in VARIABLES.items():
        there = os.environ.get(name)
        if there != value:
            lines.append(f"{name} is {there or 'not set'}; set it to {value}")
        elif not _taken(name, value):
            lines.append(
                f"{name}={value} is not what Ray Serve goes by: it was set too late, or is known no more"
            )
    return lines


def check_variables() -> None:
    """Raise EngineError naming every variable that did not take on this node."""
    if lines := unset():
        raise EngineError("environment of Ray: " + "; ".join(lines))


def _taken(name: str, value: str) -> bool:
    if name == "RAY_AUTH_MODE":
        return True
    try:
        found = as_read(name)
    except (AttributeError, ImportError):
        return False
    if isinstance(found, bool):
        return found == (value == "1")
    if isinstance(found, int | float):
        return float(found) == float(value)
    return bool(found == value)
