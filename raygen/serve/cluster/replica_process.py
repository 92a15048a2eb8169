"""Replica process: what the constructor of every deployment does first in the process that it finds itself in."""

from __future__ import annotations

import logging

from raygen.serve.cluster.rebind import rebind


def prepare() -> None:
    """Bind this process's server to the node's own address, and let raygen's log go where Serve's goes. Raises EngineError."""
    rebind()
    log = logging.getLogger("raygen")
    log.handlers = logging.getLogger("ray.serve").handlers
    log.setLevel(logging.INFO)
    log.propagate = False
