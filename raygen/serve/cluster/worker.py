"""Worker: the deployment that works on batches. It may die at any moment: all that it knows stands in the store."""

from __future__ import annotations

from collections.abc import Mapping

from ray.serve.handle import DeploymentHandle

from raygen.models.resolved import ResolvedModel
from raygen.serve.cluster.over_handles import service_over
from raygen.serve.cluster.rebind import check_rebound
from raygen.serve.cluster.replica_process import prepare
from raygen.serve.config import ServiceConfig


class BatchWorker:
    """Works on all open batches of the service's store, over the models' deployments."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        config: ServiceConfig,
        models: Mapping[str, ResolvedModel],
        handles: Mapping[str, DeploymentHandle],
    ) -> None:
        prepare()
        self._service = service_over(config, models, handles)
        await self._service.start(work=True)

    async def check_health(self) -> None:
        check_rebound()

    async def __del__(self) -> None:
        if hasattr(self, "_service"):
            await self._service.close()
