"""Proxy: what stands inside Serve's HTTP proxy, in front of everything that Serve itself does with a request."""

from __future__ import annotations

from starlette.middleware import Middleware


def middlewares() -> list[Middleware]:
    """Return the middlewares of Serve's proxy, the outermost first. Serve calls it by name: see environment.py."""
    return []
