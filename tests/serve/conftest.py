"""One service on Ray and one inline, for all tests that ask over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.on_ray import OnRay, inline, on_ray


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """The one service on Ray of all tests."""
    with on_ray(tmp_path_factory.mktemp("on_ray")) as found:
        yield found


@pytest.fixture(scope="session")
def inline_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The one inline service of all tests that ask over HTTP."""
    with inline(tmp_path_factory.mktemp("inline")) as found:
        yield found


@pytest.fixture(params=["inline", pytest.param("serve", marks=pytest.mark.ray)])
def service_url(request: pytest.FixtureRequest) -> str:
    """The URL of a service, without a slash at its end: each test runs inline and on Ray Serve."""
    if request.param == "inline":
        found: str = request.getfixturevalue("inline_url")
        return found
    service: OnRay = request.getfixturevalue("service")
    return service.url
