from __future__ import annotations

from typing import Any

import pytest

from raygen.cluster.connect import Capacity
from raygen.errors import ConfigError
from raygen.models.resolved import ResolvedModel
from raygen.serve.cluster.room import Place, places
from raygen.serve.config import ServiceConfig

LAPTOP = Capacity(2, 0, fixed=True)


def placed(room: Capacity = LAPTOP, cores: int = 2, **models: dict[str, Any]) -> dict[str, Place]:
    filled = {
        name: {"family": "causal_lm", "engine": "torch", "ref": "./x", **said}
        for name, said in models.items()
    }
    config = ServiceConfig.model_validate({"models": filled})
    resolved = {
        name: ResolvedModel(name, served.spec, "/x", "sha256:0") for name, served in config.models.items()
    }
    return places(config, resolved, room, cores)


def test_one_model_gets_a_laptop_s_cores_but_one_and_all_its_threads() -> None:
    place = placed(smol={})["smol"]
    assert (place.low, place.high, place.cpus, place.threads) == (1, 1, 1.0, None)


def test_two_models_share_the_threads() -> None:
    found = placed(smol={}, other={})
    assert {place.threads for place in found.values()} == {1}
    assert sum(place.cpus for place in found.values()) <= 1.8


def test_a_model_that_may_go_keeps_its_room() -> None:
    found = placed(smol={}, rare={"replicas": [0, 1]})
    assert (found["rare"].low, found["rare"].high) == (0, 1)
    assert sum(place.cpus for place in found.values()) <= 1.8


def test_no_more_replicas_than_fit() -> None:
    assert placed(smol={"replicas": [1, 9], "cpus_per_replica": 0.5})["smol"].high == 3


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"models\.smol"):
        placed(smol={"cpus_per_replica": 4})


def test_a_second_copy_comes_first_where_it_fits() -> None:
    small = {"cpus_per_replica": 0.5}
    assert placed(smol=small)["smol"].surge
    assert not placed(smol={"cpus_per_replica": 1.5})["smol"].surge
    assert placed(Capacity(64, 0, fixed=False), smol={"cpus_per_replica": 32})["smol"].surge
