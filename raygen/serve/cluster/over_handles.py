"""Over handles: the service of a gateway and of the batch worker, whose models are other deployments."""

from __future__ import annotations

from collections.abc import Mapping

from ray import serve
from ray.serve.handle import DeploymentHandle

from raygen.models.resolved import ResolvedModel
from raygen.serve.cluster.serve_link import ServeLink
from raygen.serve.cluster.standing import Standing
from raygen.serve.config import ServedModel, ServiceConfig
from raygen.serve.models.catalog import Catalog
from raygen.serve.service import Service


def service_over(
    config: ServiceConfig,
    models: Mapping[str, ResolvedModel],
    handles: Mapping[str, DeploymentHandle],
    *,
    loopback: bool = True,
) -> Service:
    """Return the service over the models' deployments. To be called within a deployment."""
    standing = Standing(serve.get_replica_context().app_name)

    def link(name: str, model: ResolvedModel, served: ServedModel) -> ServeLink:
        return ServeLink(name, model, served, handles[name], standing, config)

    return Service.of(config, catalog=Catalog.of(config, link, models), loopback=loopback)
