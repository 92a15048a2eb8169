"""The service: what answers requests, put together from its configuration; the same in one process and in a gateway on Serve."""

from __future__ import annotations

from dataclasses import dataclass, field

from raygen.serve.config import ServiceConfig
from raygen.serve.metrics import Metrics
from raygen.serve.models.catalog import Catalog
from raygen.serve.tenants.tenants import Tenants
from raygen.storage import Store, open_store


@dataclass
class Service:
    """A service, with all that its routes need.

    Attributes:
        store: where keys, files, batches and usage live.
        catalog: the models by name.
        tenants: keys, limits and the ledger.
        loopback: whether it can be reached from this machine alone.
        draining: it is ending: answers under way end, new requests are refused.
    """

    config: ServiceConfig
    store: Store
    catalog: Catalog
    tenants: Tenants
    loopback: bool = True
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = False

    @classmethod
    def of(cls, config: ServiceConfig, *, catalog: Catalog | None = None, loopback: bool = True) -> Service:
        """Resolve the models and open the store; nothing is loaded yet. Raises UserError."""
        store = open_store(config.store, config.storage)
        tenants = Tenants.of(config, store, loopback=loopback)
        return cls(config, store, catalog or Catalog.of(config), tenants, loopback)

    async def start(self) -> None:
        """Load the models. Raises EngineError."""
        self.tenants.start()
        await self.catalog.start()

    async def close(self) -> None:
        """Refuse new requests, let those under way end, and let go of the models."""
        self.draining = True
        await self.catalog.close(self.config.gateway.longest_answer_s)
        await self.tenants.close()
