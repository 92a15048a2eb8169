"""Keys: shown once, kept as digests, refused when wrong, revoked or expired; a store that is away stops nobody known."""

from __future__ import annotations

import time

import pytest

from raygen.errors import StorageError
from raygen.serve.config import Limits
from raygen.serve.tenants import keys as module
from raygen.serve.tenants.keys import Keyring, add_key, has_keys, list_keys, revoke_key
from raygen.storage import open_store
from raygen.wire.errors import ApiError


def refused(ring: Keyring, key: str | None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ring.remembered(key) or ring.identify(key)
    return caught.value


def test_a_key_names_its_tenant_and_what_it_may(tmp_path):
    store = open_store(str(tmp_path))
    assert not has_keys(store)
    key = add_key(store, "acme", scopes=["inference"], models=["smol"], limits=Limits(rpm=3))
    tenant = Keyring(store, {}).identify(f"Bearer {key}")
    assert (tenant.name, tenant.scopes, tenant.models) == ("acme", {"inference"}, {"smol"})
    assert tenant.limits.rpm == 3
    with pytest.raises(ApiError) as caught:
        tenant.require("admin")
    assert caught.value.status == 403


def test_the_store_holds_no_secret(tmp_path):
    _, _, secret = add_key(open_store(str(tmp_path)), "acme").split("-", 2)  # the secret may hold dashes
    assert len(secret) == 43
    assert all(secret not in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "wrong", [None, "", "Bearer", "Bearer x", "Basic abc", "Bearer rg-000000000000-" + "A" * 43]
)
def test_what_is_no_key_here_is_refused(tmp_path, wrong):
    assert refused(Keyring(open_store(str(tmp_path)), {}), wrong).status == 401


def test_a_wrong_secret_is_refused(tmp_path):
    store = open_store(str(tmp_path))
    key = add_key(store, "acme")
    ring = Keyring(store, {})
    ring.identify(f"Bearer {key}")
    assert refused(ring, f"Bearer {key[:-43]}{'A' * 43}").code == "invalid_api_key"


def test_a_revoked_key_and_an_expired_one_are_refused(tmp_path):
    store = open_store(str(tmp_path))
    key, old = add_key(store, "acme"), add_key(store, "acme", expires_s=int(time.time()) - 1)
    revoke_key(store, key.split("-")[1])
    assert refused(Keyring(store, {}), f"Bearer {key}").status == 401
    assert refused(Keyring(store, {}), f"Bearer {old}").status == 401
    assert [each.revoked for each in list_keys(store)].count(True) == 1


def test_a_store_that_is_away_stops_nobody_known(tmp_path, monkeypatch):
    store = open_store(str(tmp_path))
    key, other = add_key(store, "acme"), add_key(store, "acme")
    ring = Keyring(store, {})
    ring.identify(f"Bearer {key}")

    def away(*_):
        raise StorageError("away")

    monkeypatch.setattr(type(store), "get", away)
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    assert ring.remembered(f"Bearer {key}") is None
    assert ring.identify(f"Bearer {key}").name == "acme"
    assert refused(ring, f"Bearer {other}").status == 503


def test_unknown_ids_are_remembered_and_do_not_fill_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_UNKNOWN", 3)
    ring = Keyring(open_store(str(tmp_path)), {})
    for n in range(9):
        refused(ring, f"Bearer rg-{n:012d}-{'A' * 43}")
    assert len(ring._unknown) == 3
