"""Actors that a driver keeps beside itself."""

from __future__ import annotations

from typing import Any


def start_beside_driver(actor: type) -> Any:
    """Start an actor without CPUs on this process's node, so that it can live as long as the driver.

    Ray starts it again whenever its process ends, and repeats the calls that were lost with it.

    Returns:
        The actor's handle; the actor ends with its last handle.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(actor)
    return remote.options(scheduling_strategy=here).remote()
