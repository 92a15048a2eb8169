from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.on_ray import OnRay, on_ray


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """The one service on Ray of all tests."""
    with on_ray(tmp_path_factory.mktemp("on_ray")) as found:
        yield found
