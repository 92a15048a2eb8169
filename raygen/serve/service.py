"""The service: what answers requests, put together from its configuration; the same in one process and in a gateway on Serve."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from raygen.messages import sayer
from raygen.serve.batches.service import Batches
from raygen.serve.batches.worker import Worker
from raygen.serve.config import ServiceConfig
from raygen.serve.metrics import Metrics
from raygen.serve.models.adapters import Adapters
from raygen.serve.models.catalog import Catalog
from raygen.serve.tenants.tenants import Tenants
from raygen.serve.traces import Traces
from raygen.storage import Store, open_store


@dataclass
class Service:
    """A service, with all that its routes need.

    Attributes:
        store: where keys, files, batches and usage live.
        catalog: the models by name.
        tenants: keys, limits and the ledger.
        batches: files and batches; None where they are switched off. worker: what works on them, if that is done here.
        adapters: those that come and go while it runs.
        traces: where requests are told of; None: nowhere.
        draining: it is ending: answers under way end, new requests are refused.
    """

    config: ServiceConfig
    store: Store
    catalog: Catalog
    tenants: Tenants
    batches: Batches | None = None
    worker: Worker | None = None
    adapters: Adapters = field(init=False)
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = False
    traces: Traces | None = None

    def __post_init__(self) -> None:
        self.adapters = Adapters(self.store, self.catalog)

    @classmethod
    def of(cls, config: ServiceConfig, *, catalog: Catalog | None = None, loopback: bool = True) -> Service:
        """Resolve the models and open the store; nothing is loaded yet. Raises UserError.

        Args:
            loopback: whether it can be reached from this machine alone.
        """
        store = open_store(config.store, config.storage)
        tenants = Tenants.of(config, store, loopback=loopback)
        batches = Batches.of(store, config, sayer()) if config.batches.enabled else None
        found = cls(config, store, catalog or Catalog.of(config), tenants, batches)
        found.traces = Traces(config) if config.telemetry.endpoint is not None else None
        return found

    async def start(self, *, work: bool = False) -> None:
        """Load the models. Raises EngineError.

        Args:
            work: on batches, too: in one of the service's processes.
        """
        self.tenants.start()
        if work and self.batches is not None:
            self.worker = self.batches.worker(self.catalog)
            self.worker.start(asyncio.get_running_loop())
        await self.catalog.start()
        self.adapters.start()

    async def close(self) -> None:
        """Refuse new requests, let those under way end, and let go of the models."""
        self.draining = True
        self.adapters.close()
        if self.worker is not None:
            await asyncio.to_thread(self.worker.stop)
        await self.catalog.close(self.config.gateway.longest_answer_s)
        await self.tenants.close()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)
