"""Connecting to Ray: the cluster that a submitted job runs on, or a local instance of our own, on loopback only."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator

from raygen.errors import ConfigError, RaygenError

LOCAL_STORE_BYTES = 2**30


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Connect to Ray for the length of a `with`; shut down what was started.

    A `RAY_ADDRESS` (Ray sets it for submitted jobs) is used; otherwise a local instance starts on 127.0.0.1, without a
    dashboard, behind a token that only this process and its workers know.

    Raises:
        ConfigError: no cluster answers at RAY_ADDRESS. RaygenError: the local instance did not start.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Set before Ray is imported. A token in the environment leaves no file behind.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():  # a caller's own instance, a test's cluster
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": bool(os.environ.get("RAYGEN_RAY_LOGS"))}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=LOCAL_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
    except ConnectionError as error:
        raise ConfigError(f"RAY_ADDRESS={address}: no Ray cluster answers there: {error}") from None
    except (RuntimeError, OSError, ValueError) as error:
        raise RaygenError(f"Ray did not start: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
