"""Batches: files and batches of a service, behind one door; and the worker beside them."""

from __future__ import annotations

from raygen.messages import Say
from raygen.serve.batches.files import Files
from raygen.serve.batches.objects import Objects
from raygen.serve.batches.requests import Requests
from raygen.serve.batches.worker import Worker
from raygen.serve.config import ServiceConfig
from raygen.serve.models.catalog import Catalog
from raygen.storage import Store


class Batches:
    """What routes and consoles ask. All methods block: call them from threads.

    Attributes:
        files: uploaded and result files. requests: batches as clients see them.
        single: the store has no conditional writes: there may be one process that serves batches, and no more.
    """

    def __init__(self, store: Store, config: ServiceConfig, single: bool = False) -> None:
        self.store, self.config, self.single = store, config, single
        self.objects = Objects(store, single)
        self.files = Files(self.objects)
        self.requests = Requests(self.objects, self.files, config.batches)

    @classmethod
    def of(cls, store: Store, config: ServiceConfig, say: Say = lambda line: None) -> Batches:
        """Look at the store, and say what is special about it. Raises StorageError, AccessError."""
        single = not store.has_conditional_put()
        if single:
            say(
                f"{store.uri} has no conditional writes: only this process may serve its batches. Never start a second one on it"
            )
        return cls(store, config, single)

    def worker(self, catalog: Catalog, rank: int = 0) -> Worker:
        """Return a worker, not started yet.

        Args:
            rank: of this worker among those of the service.
        """
        return Worker(self.objects, catalog, self.config, rank)
