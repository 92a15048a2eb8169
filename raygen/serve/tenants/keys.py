"""Keys: who may ask. The store holds the SHA-256 of each secret, never a key; a key is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from raygen.errors import ConfigError, CorruptDataError, KeyNotFoundError, StorageError
from raygen.serve.config import Limits
from raygen.serve.tenants.tenant import SCOPES, Tenant
from raygen.storage import Store
from raygen.storage.create import create_once
from raygen.storage.sealed import read_sealed, seal
from raygen.wire.errors import ApiError, retry_after

FRESH_S = 15.0  # how long what the store said of a key is believed: also how long a revoked key still works
STALE_S = 600.0  # how long a known key works while the store does not answer
MOST_UNKNOWN = 10_000
KEY = re.compile(r"rg-([a-z0-9]{12})-([A-Za-z0-9_-]{43})")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key, as the store has it."""

    id: str
    sha256: str
    tenant: str
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None
    limits: Limits | None  # None: the tenant's
    created_s: int
    expires_s: int | None
    revoked: bool = False


def add_key(
    store: Store,
    tenant: str,
    *,
    scopes: Sequence[str] = SCOPES,
    models: Sequence[str] | None = None,
    limits: Limits | None = None,
    expires_s: int | None = None,
) -> str:
    """Make a key and return it: the only time that anybody sees it. Raises ConfigError."""
    if not NAME.fullmatch(tenant):
        raise ConfigError(f"tenant {tenant!r}: small letters, digits, `-` and `_`, at most 63")
    if wrong := [scope for scope in scopes if scope not in SCOPES]:
        raise ConfigError(f"scope {wrong[0]!r}: scopes are {', '.join(SCOPES)}")
    name, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    record = {
        "id": name,
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "tenant": tenant,
        "scopes": list(scopes),
        "models": None if models is None else list(models),
        "limits": None if limits is None else limits.model_dump(),
        "created_s": int(time.time()),
        "expires_s": expires_s,
    }
    key, data = f"keys/{name}.json", seal(record)
    create_once(store, key, data, lambda: store.get(key))
    return f"rg-{name}-{secret}"


def revoke_key(store: Store, name: str) -> None:
    """Let a key work no more. Raises ConfigError: there is none of that id."""
    if not store.exists(f"keys/{name}.json"):
        raise ConfigError(f"there is no key {name!r}; `raygen keys list` shows those there are")
    store.put(f"keys/{name}.revoked", orjson.dumps({"revoked_s": int(time.time())}))


def list_keys(store: Store) -> Iterator[KeyRecord]:
    """Yield all keys, revoked ones included, without their secrets."""
    names = [info.key for info in store.list("keys/")]
    revoked = {name for name in names if name.endswith(".revoked")}
    for name in names:
        if name.endswith(".json"):
            yield _record(store, name, f"{name.removesuffix('.json')}.revoked" in revoked)


def has_keys(store: Store) -> bool:
    """Whether anybody has made a key."""
    return next(iter(store.list("keys/")), None) is not None


def _record(store: Store, key: str, revoked: bool) -> KeyRecord:
    found = read_sealed(store, key)
    return KeyRecord(
        found["id"],
        found["sha256"],
        found["tenant"],
        tuple(found["scopes"]),
        None if found["models"] is None else tuple(found["models"]),
        None if found["limits"] is None else Limits.model_validate(found["limits"]),
        found["created_s"],
        found["expires_s"],
        revoked,
    )


class Keyring:
    """The keys of a service, read from its store and remembered for a while. Blocks; safe to share between threads.

    Args:
        limits: by tenant; `default` for those that are not named.
    """

    def __init__(self, store: Store, limits: dict[str, Limits]) -> None:
        self._store, self._limits = store, limits
        self._known: dict[str, tuple[float, KeyRecord]] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, authorization: str | None) -> Tenant | None:
        """Return whose key it is without asking the store; None: the store has to be asked. Raises ApiError 401."""
        name, secret = _parts(authorization)
        with self._lock:
            unknown = self._unknown.get(name)
            known = self._known.get(name)
        now = time.monotonic()
        if unknown is not None and now - unknown < FRESH_S:
            raise _invalid()
        if known is None or now - known[0] >= FRESH_S:
            return None
        return self._tenant(known[1], secret)

    def identify(self, authorization: str | None) -> Tenant:
        """Return whose key it is. Raises ApiError 401 `invalid_api_key`, 503 when the store does not answer."""
        name, secret = _parts(authorization)
        now = time.monotonic()
        try:
            found = _record(self._store, f"keys/{name}.json", self._store.exists(f"keys/{name}.revoked"))
        except KeyNotFoundError:
            with self._lock:
                self._known.pop(name, None)
                self._unknown[name] = now
                while len(self._unknown) > MOST_UNKNOWN:
                    self._unknown.popitem(last=False)
            raise _invalid() from None
        except (StorageError, CorruptDataError):
            with self._lock:
                known = self._known.get(name)
            if known is None or now - known[0] > STALE_S:
                raise ApiError(
                    503, "keys_unavailable", "keys cannot be looked up now", headers=retry_after(5)
                ) from None
            return self._tenant(known[1], secret)
        with self._lock:
            self._known[name] = (now, found)
            self._unknown.pop(name, None)
        return self._tenant(found, secret)

    def _tenant(self, record: KeyRecord, secret: str) -> Tenant:
        right = hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), record.sha256)
        expired = record.expires_s is not None and time.time() >= record.expires_s
        if not right or record.revoked or expired:
            raise _invalid()
        limits = record.limits or self._limits.get(record.tenant) or self._limits.get("default") or Limits()
        models = None if record.models is None else frozenset(record.models)
        own = record.limits is not None
        return Tenant(record.tenant, record.id, frozenset(record.scopes), models, limits, own)


def _parts(authorization: str | None) -> tuple[str, str]:
    """Return a key's id and secret. Raises ApiError 401."""
    kind, _, key = (authorization or "").partition(" ")
    if not authorization:
        raise ApiError(401, "missing_api_key", "a key is needed: send the header `Authorization: Bearer KEY`")
    found = KEY.fullmatch(key.strip()) if kind.lower() == "bearer" else None
    if found is None:
        raise _invalid()
    return found[1], found[2]


def _invalid() -> ApiError:
    return ApiError(401, "invalid_api_key", "this key is not valid here")
