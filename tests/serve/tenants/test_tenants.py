"""Whether a service asks for keys: on loopback once there is one, elsewhere always."""

from __future__ import annotations

import asyncio

import pytest

from raygen.errors import ConfigError
from raygen.serve.config import ServiceConfig
from raygen.serve.tenants import tenants as module
from raygen.serve.tenants.keys import add_key
from raygen.serve.tenants.tenants import Tenants
from raygen.storage import open_store
from raygen.wire.errors import ApiError


def config(tmp_path, **keys) -> ServiceConfig:
    models = {"echo": {"family": "causal_lm", "engine": "echo"}}
    return ServiceConfig.model_validate({"store": str(tmp_path), "models": models, "keys": keys})


@pytest.mark.parametrize("keys", [{}, {"required": True}, {"required": False}])
def test_where_others_could_ask_it_does_not_start_without_keys(tmp_path, keys):
    store = open_store(str(tmp_path))
    with pytest.raises(ConfigError, match="other machines could ask without a key"):
        Tenants.of(config(tmp_path, **keys), store, loopback=False)
    if keys.get("required") is not False:
        add_key(store, "acme")
        assert Tenants.of(config(tmp_path, **keys), store, loopback=False).required


def test_on_loopback_the_first_key_closes_the_door(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLUSH_S", 0.01)
    store = open_store(str(tmp_path))

    async def watch():
        tenants = Tenants.of(config(tmp_path), store, loopback=True)
        tenants.start()
        before = (await tenants.identify(None)).name
        add_key(store, "acme")
        for _ in range(500):
            if tenants.required:
                break
            await asyncio.sleep(0.01)
        with pytest.raises(ApiError) as caught:
            await tenants.identify(None)
        await tenants.close()
        return before, caught.value.status

    assert asyncio.run(watch()) == ("default", 401)


def test_on_loopback_keys_can_be_left_out_on_purpose(tmp_path):
    store = open_store(str(tmp_path))
    add_key(store, "acme")
    assert not Tenants.of(config(tmp_path, required=False), store, loopback=True).required
