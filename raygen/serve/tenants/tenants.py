"""Tenants of a service: who asks, whether it may, and what it used. What the application knows of keys, limits and the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from raygen.errors import ConfigError, RaygenError
from raygen.serve.config import ServiceConfig
from raygen.serve.tenants.keys import Keyring, has_keys
from raygen.serve.tenants.ledger import FLUSH_S, Ledger
from raygen.serve.tenants.limits import Hold, Limiter
from raygen.serve.tenants.tenant import DEFAULT, Tenant
from raygen.storage import Store
from raygen.usage import Usage

log = logging.getLogger(__name__)


class Tenants:
    """Keys, limits and the ledger of one gateway.

    Args:
        required: whether requests need a key.
    """

    def __init__(self, config: ServiceConfig, store: Store, required: bool) -> None:
        self.required = required
        self.ledger = Ledger(store)
        self._keyring = Keyring(store, config.limits)
        self._limiter = Limiter(config.gateway.copies, self.ledger.month_tokens)
        self._default = Tenant(DEFAULT.name, limits=config.limits.get(DEFAULT.name) or DEFAULT.limits)
        self._flushing: asyncio.Task[None] | None = None
        self._store, self._by_store = store, False  # whether a first key in the store makes keys needed

    @classmethod
    def of(cls, config: ServiceConfig, store: Store, *, loopback: bool) -> Tenants:
        """Decide whether keys are needed: always but on loopback, there once the store holds any.

        Raises:
            ConfigError: others could ask without a key.
        """
        there = has_keys(store)
        if not loopback and config.keys.required is False:
            raise ConfigError(
                "keys.required: false is for loopback alone: other machines could ask without a key"
            )
        if not loopback and not there:
            raise ConfigError(
                "other machines could ask without a key, and there is none; make one: "
                f"raygen keys add TENANT --store {config.store}"
            )
        required = config.keys.required
        made = cls(config, store, not loopback or there if required is None else required)
        made._by_store = required is None
        return made

    def start(self) -> None:
        """Begin to write the ledger, every few seconds."""
        self._flushing = asyncio.create_task(self._keep_flushing())

    async def close(self) -> None:
        """Write what is left of the ledger."""
        if self._flushing is not None:
            self._flushing.cancel()
        await self._flush()

    async def identify(self, authorization: str | None) -> Tenant:
        """Return who asks. Raises ApiError 401, 503."""
        # Clients have to send a key, whatever it is: where none is needed, one of another kind says nothing.
        if not self.required and not (authorization or "").startswith("Bearer rg-"):
            return self._default
        known = self._keyring.remembered(authorization)
        if known is not None:
            return known
        return await asyncio.to_thread(self._keyring.identify, authorization)

    @asynccontextmanager
    async def admit(self, tenant: Tenant, model: str, most: Usage) -> AsyncIterator[Hold]:
        """Hold what a request may use while it is answered, and note what it used. Raises ApiError 429."""
        if tenant.limits.monthly_tokens is None:
            hold = self._limiter.reserve(tenant.account, tenant.limits, most)
        else:  # may read the ledger
            hold = await asyncio.to_thread(self._limiter.reserve, tenant.account, tenant.limits, most)
        try:
            yield hold
        finally:
            self.ledger.add(tenant.name, model, hold.usage)  # first: what was used is never out of sight
            self._limiter.release(hold)

    async def check_month(self, tenant: Tenant) -> None:
        """Refuse a batch of a tenant whose month is used up. Raises ApiError 429 `insufficient_quota`."""
        if tenant.limits.monthly_tokens is not None:
            await asyncio.to_thread(self._limiter.check_month, tenant.name, tenant.limits)

    def headers(self, tenant: Tenant) -> dict[str, str]:
        """Return what is told of limits beside an answer."""
        return self._limiter.headers(tenant.account)

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._flush()
            await self._look_for_keys()

    async def _look_for_keys(self) -> None:
        """Ask for keys from the moment that somebody has made the first one."""
        if self._by_store and not self.required:
            try:
                self.required = await asyncio.to_thread(has_keys, self._store)
            except RaygenError as error:
                log.warning("keys could not be looked up: %s", type(error).__name__)

    async def _flush(self) -> None:
        try:
            await asyncio.to_thread(self.ledger.flush)
        except RaygenError as error:
            log.warning("the ledger could not be written: %s", type(error).__name__)
