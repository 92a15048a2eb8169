"""Stores in buckets, over HTTP: what the doctor tells of them, and that nothing of its probe stays."""

from __future__ import annotations

import os

import pytest

from raygen.doctor.finding import Finding
from raygen.doctor.places import check_store
from tests.fakes.fault_s3 import FaultS3


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


def look(monkeypatch: pytest.MonkeyPatch, server: FaultS3, uri: str = "s3://bucket/runs/new") -> Finding:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
    (found,) = check_store(uri)
    assert server.objects() == {}
    return found


def test_a_bucket_with_conditional_writes_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultS3() as server:
        found = look(monkeypatch, server)
    assert (found.state, found.value) == (
        "ok",
        "s3://bucket/runs/new: can be written, has conditional writes",
    )


def test_a_bucket_without_conditional_writes_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultS3(ignore_if_none_match=True) as server:
        found = look(monkeypatch, server)
    assert found.state == "warning"
    assert "has no conditional writes" in found.value


def test_a_bucket_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultS3() as server:
        found = look(monkeypatch, server, "s3://other/runs")
    assert found.state == "error"
    assert "other" in found.value


def test_a_bucket_without_credentials_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with FaultS3() as server:
        found = look(monkeypatch, server)
    assert found.state == "error"
    assert "credentials" in found.value
