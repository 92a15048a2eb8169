"""Room: what a job's actors ask Ray for, on a Ray that cannot grow: all of it fits, or is refused before work."""

from __future__ import annotations

from typing import Any

import pytest

from raygen.cluster.connect import Capacity
from raygen.errors import ConfigError
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.pools.layout import Group, groups_of, laid_out, with_threads
from raygen.program.job import Job
from tests.fakes.echo_jobs import echo_job

ECHO = {"family": "causal_lm", "engine": "echo"}
TORCH = {"family": "causal_lm", "engine": "torch", "ref": "./lm"}
NLI = {"family": "classifier", "engine": "encoder", "ref": "./nli"}
TWO_CPUS = Capacity(2.0, 0.0, fixed=True)


def models_of(job: Job) -> dict[str, ResolvedModel]:
    return {name: ResolvedModel(name, spec, None, "x") for name, spec in job.models.items()}


def laid(
    room: Capacity = TWO_CPUS,
    cores: int = 2,
    chunks: int = 100,
    execution: dict[str, Any] | None = None,
    **models: dict[str, Any],
) -> list[Group]:
    writer = {"writer": ECHO} if "writer" not in models else {}
    job = echo_job("in", "out", models={**writer, **models}, execution=execution or {})
    return laid_out(groups_of(job, models_of(job), cores, chunks), room, 0.2, cores)


def pooled(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**spec, "placement": "pooled", **more}


def shown(groups: list[Group]) -> list[tuple[str, int, int, float, int | None]]:
    return [(group.name, group.low, group.high, group.cpus, group.threads) for group in groups]


def test_engines_of_one_process_ask_for_its_cores_once() -> None:
    assert shown(laid(writer=TORCH, nli=NLI)) == [("execution", 1, 1, 1.0, None)]
    assert shown(laid(writer=ECHO, nli=ECHO)) == [("execution", 1, 1, 0.5, None)]
    eight = laid(Capacity(8.0, 0.0, True), cores=8, writer=TORCH, nli=NLI)
    assert shown(eight) == [("execution", 1, 1, 7.0, None)]


def test_pools_that_say_nothing_of_cpus_fit_two_of_them() -> None:
    found = laid(writer=pooled(TORCH), nli=pooled(NLI))
    assert [group.name for group in found] == ["execution", "writer", "nli"]
    assert sum(group.cpus * group.high for group in found) <= 1.8
    assert [group.threads for group in found] == [None, 1, 1]  # two processes compute on two cores


def test_threads_of_all_processes_of_a_machine_are_no_more_than_its_cores() -> None:
    room = Capacity(16.0, 0.0, fixed=True)
    for models in (
        {"writer": pooled(TORCH, replicas=[1, 3], cpus_per_replica=1), "nli": NLI},
        {"writer": pooled(TORCH), "nli": pooled(NLI, replicas=[2, 2])},
        {"writer": TORCH, "nli": NLI},
        {"writer": pooled(TORCH, cpus_per_replica=6.5), "nli": pooled(NLI)},
    ):
        groups = laid(room, cores=16, **models)
        assert sum(group.high * (group.threads or 16) for group in groups if group.computes) <= 16
    given = laid(room, cores=16, writer=pooled(TORCH, cpus_per_replica=6.5), nli=pooled(NLI))
    assert [group.threads for group in given] == [None, 6, 10]


def test_what_is_left_is_dealt_out_in_turns() -> None:
    found = laid(
        execution={"replicas": [1, 4], "cpus_per_replica": 0.3},
        nli=pooled(ECHO, replicas=[1, 9], cpus_per_replica=0.3),
    )
    assert shown(found) == [("execution", 1, 3, 0.3, None), ("nli", 1, 3, 0.3, None)]
    few = laid(chunks=1, execution={"replicas": [1, 4]}, nli=pooled(ECHO, replicas=[1, 9]))
    assert [(group.high, group.cpus) for group in few] == [(1, 0.25), (6, 0.25)]


def test_a_cluster_that_can_grow_gets_what_is_asked_for() -> None:
    found = laid(
        Capacity(2.0, 0.0, fixed=False),
        nli=pooled(NLI, replicas=[3, 50], gpus_per_replica=1, cpus_per_replica=2),
    )
    assert shown(found)[1] == ("nli", 3, 50, 2.0, None)
    assert laid(Capacity(2, 0, fixed=False), nli=pooled(NLI, cpus_per_replica=3))[1].threads == 3


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (
            {"nli": pooled(ECHO, replicas=[2, 2], cpus_per_replica=1)},
            ["models.nli.replicas: at least 2 replicas of 1 CPUs", "2 logical CPUs 1.8 are free", "in all 2.25 CPUs"],
        ),
        ({"nli": pooled(ECHO, gpus_per_replica=1)}, ["1 GPUs wanted", "it has 0 GPUs", "in all 0.5 CPUs and 1 GPUs"]),
        ({"writer": TORCH, "nli": pooled(NLI, cpus_per_replica=1.75)}, ["execution.replicas: at least 1 engine", "1.75"]),
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused_with_both_figures(models: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        laid(**models)
    for word in words:
        assert word in str(caught.value)


def test_threads_reach_the_engine_unless_the_job_gives_them() -> None:
    job = echo_job(
        "in", "out", models={"writer": ECHO, "a": TORCH, "b": {**TORCH, "options": {"threads": 3}}}
    )
    found = {name: with_threads(model, 2).spec.options for name, model in models_of(job).items()}
    assert found == {"writer": {}, "a": {"threads": 2}, "b": {"threads": 3}}
