"""Credentials for a store on loopback: a fixture for the conftest of tests that use one."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def loopback_credentials() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        yield
