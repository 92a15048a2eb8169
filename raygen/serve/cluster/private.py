"""Private names of Ray Serve, which a release may take away: all that raygen uses of them, with a test each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What Serve read from the environment when it was imported, by the variable's name.
READ = {
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "RAY_SERVE_USE_GRPC_BY_DEFAULT",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "RAY_SERVE_ENABLE_DIRECT_INGRESS",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "PROXY_HEALTH_CHECK_PERIOD_S",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "PROXY_HEALTH_CHECK_TIMEOUT_S",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH",
}


def as_read(variable: str) -> Any:
    """Return what this process's Serve took from an environment variable. Raises AttributeError: it knows it no more."""
    from ray.serve._private import constants

    return getattr(constants, READ[variable])


def replace_grpc_bind(bind: Callable[[Callable[[Any, str], int], Any, str], int]) -> None:
    """Let `bind` give a replica's gRPC server its address; it gets Serve's own function to do so, the server and the address.

    Has to be called in a deployment's constructor: before it, Serve's module is imported once more.

    Raises:
        AttributeError: Serve has no such function any more.
    """
    from ray.serve._private import replica

    own = replica.add_port_to_grpc_server
    if not hasattr(own, "bound"):

        def bound(server: Any, address: str) -> int:
            return bind(own, server, address)

        bound.bound = True  # type: ignore[attr-defined]
        replica.add_port_to_grpc_server = bound


def http_host() -> str | None:
    """Return the address on which the connected Serve's proxies listen."""
    from ray.serve.context import _get_global_client

    host: str | None = _get_global_client().http_config.host
    return host


def serve_client() -> Any:
    """Return the connected Serve's client: applications of a file are deployed by its `deploy_apps`, as `serve run` does."""
    from ray.serve.context import _get_global_client

    return _get_global_client()
