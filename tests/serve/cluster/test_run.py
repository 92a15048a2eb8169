"""`raygen serve` on Ray: what is refused is refused before Ray is started, in the same words as in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raygen.errors import ConfigError
from raygen.serve.cluster import run
from raygen.serve.config import ServiceConfig
from raygen.serve.inline import serve_inline
from raygen.serve.tenants.keys import add_key
from raygen.storage import open_store


class RayWasStartedError(Exception):
    pass


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def started() -> None:
        raise RayWasStartedError

    monkeypatch.setattr(run, "set_variables", lambda: None)
    monkeypatch.setattr(run, "connected", started)
    monkeypatch.setenv(run.MAX_FILE, "1")  # is put back afterwards


def config(store: Path, **keys: Any) -> ServiceConfig:
    models = {"echo": {"family": "causal_lm", "engine": "echo"}}
    return ServiceConfig.model_validate({"store": str(store), "models": models, "keys": keys})


@pytest.mark.parametrize(
    ("keys", "there"), [({}, False), ({"required": True}, False), ({"required": False}, True)]
)
def test_an_open_address_without_keys_is_refused_before_ray_is_started(
    tmp_path: Path, keys: dict[str, bool], there: bool
) -> None:
    if there:
        add_key(open_store(str(tmp_path)), "acme")
    said = []
    for serve in (run.serve_on_ray, serve_inline):
        with pytest.raises(ConfigError, match="other machines could ask without a key") as refused:
            serve(config(tmp_path, **keys), "0.0.0.0", 0, print)
        said.append(str(refused.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_with_keys_or_on_loopback_it_starts(tmp_path: Path, host: str) -> None:
    if host == "0.0.0.0":
        add_key(open_store(str(tmp_path)), "acme")
    with pytest.raises(RayWasStartedError):
        run.serve_on_ray(config(tmp_path), host, 0, print)
