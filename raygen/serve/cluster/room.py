"""Room: what the deployments of a service ask Ray for, and how many copies of a model fit on a Ray that cannot grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from raygen.cluster.connect import Capacity
from raygen.engines import engine_facts
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.pools.layout import Group, has_threads, laid_out
from raygen.serve.config import ServedModel, ServiceConfig

GATEWAY_CPUS = 0.1
WORKER_CPUS = 0.1


@dataclass(frozen=True)
class Place:
    """What a model's deployment gets.

    Attributes:
        low: the fewest replicas; 0 lets it go when it is idle. high: the most.
        cpus: logical CPUs of each. gpus: of each.
        threads: of each engine; None: one for each core.
        surge: whether a second copy of all replicas fits while a new version comes.
    """

    low: int
    high: int
    cpus: float
    gpus: float
    threads: int | None
    surge: bool


def places(
    config: ServiceConfig, models: Mapping[str, ResolvedModel], room: Capacity, cores: int
) -> dict[str, Place]:
    """Return what every model's deployment gets.

    Args:
        room: what Ray has. cores: of this machine.

    Raises:
        ConfigError: one replica of each does not fit.
    """
    reserve = config.gateway.copies * GATEWAY_CPUS + (WORKER_CPUS if config.batches.enabled else 0)
    wanted = [_group(name, config.models[name], model, cores) for name, model in models.items()]
    groups = laid_out(wanted, room, reserve, cores)
    # Gateways come and go one beside the other, too.
    free_cpus = room.cpus - reserve - GATEWAY_CPUS - sum(group.high * group.cpus for group in groups)
    free_gpus = room.gpus - sum(group.high * group.gpus for group in groups)
    return {
        group.name: Place(
            _low(config.models[group.name]),
            group.high,
            group.cpus,
            group.gpus,
            group.threads,
            not room.fixed
            or (group.cpus * group.high <= free_cpus + 1e-6 and group.gpus * group.high <= free_gpus + 1e-6),
        )
        for group in groups
    }


def _low(served: ServedModel) -> int:
    return 1 if served.replicas is None else served.replicas[0]


def _group(name: str, served: ServedModel, model: ResolvedModel, cores: int) -> Group:
    """Return what a model asks for. One replica is reserved also for a model that may be at zero."""
    low = max(1, _low(served))
    high = low if served.replicas is None else max(low, served.replicas[1])
    own, gpus = served.cpus_per_replica, served.gpus_per_replica
    default = engine_facts(model.spec.engine).cpus(cores, gpus)
    computes = not gpus and has_threads(model)
    threads = max(1, int(own)) if own is not None and computes else None
    return Group(name, low, high, own or default, gpus, own is not None, computes, threads)
