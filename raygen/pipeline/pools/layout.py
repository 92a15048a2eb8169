"""Layout: what a job's actors ask Ray for, how many of them fit, and how many CPU threads an engine gets. Plain Python.

Logical CPUs are Ray's bookkeeping; cores are what engines compute with. On a Ray that cannot grow, all that is asked for is
laid out before work: the fewest of each group have to fit beside reading and writing, else Ray would wait for ever; what
is left is dealt out in turns. Elsewhere asking for more is what makes a cluster grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raygen.cluster.connect import Capacity
from raygen.engines import engine_facts
from raygen.errors import ConfigError
from raygen.models.resolved import ResolvedModel
from raygen.program.job import Job

HOST_CPUS = 0.25  # of an engine host without engines of its own
LEAST_CPUS = 0.5  # of an engine that would take a whole machine: with less, one of many would crawl
ENGINES = "execution"  # the group of the engine hosts


@dataclass(frozen=True)
class Group:
    """Actors that are alike: the engine hosts, or the replicas of a pool."""

    name: str  # ENGINES, or a model's
    low: int  # the fewest of them
    high: int
    cpus: float  # of each
    gpus: float
    given: bool  # does the job say how many CPUs?
    computes: bool  # with CPU threads of its own
    threads: int | None = None  # of each engine; None: one for each core

    @property
    def where(self) -> str:
        return "execution" if self.name == ENGINES else f"models.{self.name}"


def groups_of(job: Job, models: Mapping[str, ResolvedModel], cores: int, chunks: int) -> list[Group]:
    """Return what a job asks for: the engine hosts first, then each pool.

    Args:
        cores: of this machine. chunks: that are left; more hosts would have nothing to do.
    """
    execution = job.execution
    inside = [model for model in models.values() if model.spec.placement == "colocated"]
    asked = [engine_facts(model.spec.engine).cpus(cores, execution.gpus_per_replica) for model in inside]
    # Engines of one process share its cores: together they need no more than one that takes all would.
    cpus = min(sum(asked), max(0.5, cores - 1.0)) if asked else HOST_CPUS
    given = execution.cpus_per_replica
    low, high = (min(each, chunks) for each in execution.replicas)
    computes = not execution.gpus_per_replica and any(map(has_threads, inside))
    found = [
        Group(
            ENGINES,
            low,
            high,
            cpus if given is None else given,
            execution.gpus_per_replica,
            given is not None,
            computes,
        )
    ]
    for name, model in models.items():
        spec = model.spec
        if spec.placement != "pooled":
            continue
        own, gpus = spec.cpus_per_replica, spec.gpus_per_replica
        default = engine_facts(spec.engine).cpus(cores, gpus)
        computes = not gpus and has_threads(model)
        threads = max(1, int(own)) if own is not None and computes else None
        found.append(
            Group(name, *spec.pool_replicas, own or default, gpus, own is not None, computes, threads)
        )
    return found


def laid_out(groups: Sequence[Group], room: Capacity, reserve: float, cores: int) -> list[Group]:
    """Return the groups as they fit: with their most, and their engines' threads.

    Args:
        reserve: CPUs for reading and writing, which else would starve.

    Raises:
        ConfigError: the fewest of each do not fit.
    """
    if not room.fixed:
        return list(groups)
    free = room.cpus - reserve
    groups = _modest(groups, free)
    lows = [replace(group, high=group.low) for group in groups]
    if not _fit(lows, free, room.gpus):
        raise ConfigError(_refusal(groups, room, free))
    highs = [group.low for group in groups]
    grew = True
    while grew:  # in turns: one more of each that still fits
        grew = False
        for number, group in enumerate(groups):
            more = [*highs]
            more[number] += 1
            tried = [replace(each, high=high) for each, high in zip(groups, more, strict=True)]
            if more[number] <= group.high and _fit(tried, free, room.gpus):
                highs, grew = more, True
    fitted = [replace(group, high=high) for group, high in zip(groups, highs, strict=True)]
    return _with_threads(fitted, cores)


def _modest(groups: Sequence[Group], free: float) -> Sequence[Group]:
    """Lower what engines ask for by default, a whole machine, to what there is, so that the fewest of each have room."""
    lowered = [not group.given and group.cpus > LEAST_CPUS for group in groups]
    fixed = sum(g.low * g.cpus for g, lower in zip(groups, lowered, strict=True) if not lower)
    asked = sum(g.low * g.cpus for g, lower in zip(groups, lowered, strict=True) if lower)
    if fixed + asked <= free or not asked:
        return groups
    share = max(0.0, free - fixed) / asked
    return [
        replace(g, cpus=max(LEAST_CPUS, int(g.cpus * share * 100) / 100)) if lower else g
        for g, lower in zip(groups, lowered, strict=True)
    ]


def _fit(groups: Sequence[Group], cpus: float, gpus: float) -> bool:
    return (
        sum(group.high * group.cpus for group in groups) <= cpus + 1e-6
        and sum(group.high * group.gpus for group in groups) <= gpus + 1e-6
    )


def _with_threads(groups: Sequence[Group], cores: int) -> list[Group]:
    """Divide this machine's cores among the processes that compute on them, so that together they have no more threads."""
    taken = sum(group.high * (group.threads or 0) for group in groups if group.computes)
    sharing = sum(group.high for group in groups if group.computes and group.threads is None)
    threads = max(1, (cores - taken) // max(1, sharing))
    return [
        replace(group, threads=threads)
        if group.computes and group.threads is None and threads < cores
        else group
        for group in groups
    ]


def _refusal(groups: Sequence[Group], room: Capacity, free: float) -> str:
    wanted = "; ".join(
        f"{group.where}.replicas: at least {group.low} {_noun(group)} of {group.cpus:g} CPUs and {group.gpus:g} GPUs wanted"
        for group in groups
    )
    has = (
        f"of this Ray's {room.cpus:g} logical CPUs {max(0, free):g} are free beside reading and writing, "
        f"and it has {room.gpus:g} GPUs"
    )
    if len(groups) == 1:
        [group] = groups
        fits = [
            int(there / each + 1e-6) for there, each in ((free, group.cpus), (room.gpus, group.gpus)) if each
        ]
        total = f"room for {max(0, min(fits))}"
    else:
        cpus = sum(group.low * group.cpus for group in groups)
        gpus = sum(group.low * group.gpus for group in groups)
        total = f"in all {cpus:g} CPUs and {gpus:g} GPUs are wanted"
    return f"{wanted}, but {has}: {total}. Lower replicas, cpus_per_replica or gpus_per_replica"


def _noun(group: Group) -> str:
    noun = "engine" if group.name == ENGINES else "replica"
    return noun + "s" * (group.low > 1)


def has_threads(model: ResolvedModel) -> bool:
    """Return whether a model's engine computes with CPU threads of its own."""
    return "threads" in engine_facts(model.spec.engine).Options.model_fields


def with_threads(model: ResolvedModel, threads: int | None) -> ResolvedModel:
    """Return the model, its engine with so many CPU threads, unless the job says how many or it has none."""
    options = model.spec.options
    if threads is None or not has_threads(model) or options.get("threads") is not None:
        return model
    spec = model.spec.model_copy(update={"options": {**options, "threads": threads}})
    return replace(model, spec=spec)
