"""Gateway: the deployment that takes requests: the app over links to the models' deployments."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from raygen.errors import EngineError
from raygen.models.resolved import ResolvedModel
from raygen.serve.app import make_app
from raygen.serve.cluster.environment import check_variables
from raygen.serve.cluster.over_handles import service_over
from raygen.serve.cluster.private import http_host
from raygen.serve.cluster.proxy import MAX_FILE, max_file_bytes
from raygen.serve.cluster.rebind import check_rebound
from raygen.serve.cluster.replica_process import prepare
from raygen.serve.config import ServiceConfig
from raygen.serve.listening import is_loopback


@serve.ingress()
class Gateway:
    """Takes requests. Any number of gateways serve the same; all that they share is in the store."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        config: ServiceConfig,
        models: Mapping[str, ResolvedModel],
        handles: Mapping[str, DeploymentHandle],
        worker: DeploymentHandle | None = None,
    ) -> None:
        prepare()
        check_variables()
        if config.batches.max_file_bytes > max_file_bytes():
            raise EngineError(
                f"batches.max_file_bytes is {config.batches.max_file_bytes}, and this node's proxy lets in "
                f"{max_file_bytes()}; set {MAX_FILE} in its environment"
            )
        host = await asyncio.to_thread(http_host)
        self._service = service_over(config, models, handles, loopback=is_loopback(host or "0.0.0.0"))
        await self._service.start()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return make_app(self._service)

    async def drain(self) -> int:
        """Refuse what is new from now on; returns how many requests are under way."""
        self._service.draining = True
        return self._service.metrics.in_flight

    async def check_health(self) -> None:
        check_rebound()

    async def __del__(self) -> None:
        if hasattr(self, "_service"):
            await self._service.close()
