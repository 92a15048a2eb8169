"""Ray for tests: an instance of this process, and command lines with instances of their own. One at a time."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
# Ray's workers import the fragile engine from here.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")))
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("RAYGEN_FULL"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="RAYGEN_FULL=1 runs it"))


@pytest.fixture(scope="module")
def own_ray() -> Iterator[Any]:
    """A local Ray of two logical CPUs, on loopback, whose workers find the fragile engine."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    ray._private.ray_constants.ENABLE_RAY_CLUSTER = (
        False  # what the variable says, if Ray was imported before
    )
    os.putenv("RAY_BACKEND_LOG_LEVEL", "fatal")  # as raygen does for its own
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=2**29,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    os.unsetenv("RAY_BACKEND_LOG_LEVEL")
    yield ray
    ray.shutdown()
