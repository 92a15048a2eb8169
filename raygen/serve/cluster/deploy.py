"""Deploy: a service as an application of Ray Serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from raygen.cluster.connect import Capacity, capacity
from raygen.config.files import validate
from raygen.limits import usable_cores
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.pools.layout import with_threads
from raygen.serve.cluster.gateway import Gateway
from raygen.serve.cluster.model import ModelServer
from raygen.serve.cluster.room import GATEWAY_CPUS, WORKER_CPUS, Place, places
from raygen.serve.cluster.scaling import by_rows
from raygen.serve.cluster.standing import deployment_of
from raygen.serve.cluster.worker import BatchWorker
from raygen.serve.config import ServiceConfig
from raygen.serve.models.catalog import resolve_served

REQUESTS = 10_000  # at once at a replica, as far as Serve counts: the bounds that refuse are raygen's own
WORKER_GRACE_S = 40.0  # chunks under way get 30 s to end
SEEN_S = 1.0  # how often replicas and gateways tell the autoscaler how they stand

# Of every deployment. A replica that is gone is missed after seconds; a constructor that fails twice fails a third time.
COMMON: Mapping[str, Any] = {
    "max_ongoing_requests": REQUESTS,
    "max_queued_requests": -1,
    "health_check_period_s": 2,
    "health_check_timeout_s": 30,
    "graceful_shutdown_wait_loop_s": 0.5,
    "max_constructor_retry_count": 2,
    "logging_config": {"encoding": "JSON", "enable_access_log": False},
}


def build(args: dict[str, Any]) -> Application:
    """Return the application of a service: what the `import_path` of a Ray Serve config file names.

    Args:
        args: a service's configuration, the keys of ServiceConfig.

    Raises:
        UserError: a key is wrong, a model's reference does not resolve, or one does not fit.
    """
    return application(validate(args, ServiceConfig, "args"))


def application(config: ServiceConfig) -> Application:
    """Return the application of a service. Raises UserError."""
    models = resolve_served(config)
    room = capacity() if ray.is_initialized() else Capacity(0, 0, fixed=False)
    found = places(config, models, room, usable_cores())
    handles = {name: _model(config, model, found[name]) for name, model in models.items()}
    gateway = serve.deployment(Gateway).options(
        **COMMON,
        name="gateway",
        num_replicas=config.gateway.copies,
        ray_actor_options={"num_cpus": GATEWAY_CPUS},
        graceful_shutdown_timeout_s=config.gateway.longest_answer_s,
        max_surge_percent=100,
    )
    if not config.batches.enabled:
        return gateway.bind(config, models, handles)
    worker = serve.deployment(BatchWorker).options(
        **COMMON,
        name="batches",
        num_replicas=1,
        ray_actor_options={"num_cpus": WORKER_CPUS},
        graceful_shutdown_timeout_s=WORKER_GRACE_S,
        max_surge_percent=0,  # another one beside it would do the same work
    )
    # A gateway asks nothing of the worker: it is bound to it, so that it is deployed.
    return gateway.bind(config, models, handles, worker.bind(config, models, handles))


def _model(config: ServiceConfig, model: ResolvedModel, place: Place) -> Application:
    served = config.models[model.name]
    deployment = serve.deployment(ModelServer).options(
        **COMMON,
        name=deployment_of(model.name),
        ray_actor_options={"num_cpus": place.cpus, "num_gpus": place.gpus},
        graceful_shutdown_timeout_s=config.gateway.longest_answer_s,
        max_surge_percent=100 if place.surge else 0,
        **_scaled(place, served.idle_s),
    )
    return deployment.bind(with_threads(model, place.threads), served, config.storage)


def _scaled(place: Place, idle_s: float) -> dict[str, Any]:
    """Return the options that say how many replicas there are."""
    if place.low == place.high:
        return {"num_replicas": place.low}
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=place.low,
            max_replicas=place.high,
            metrics_interval_s=SEEN_S,
            look_back_period_s=2 * SEEN_S,
            upscale_delay_s=2 * SEEN_S,
            downscale_delay_s=idle_s,
            downscale_to_zero_delay_s=idle_s,
            policy=AutoscalingPolicy(policy_function=by_rows),
        )
    }
