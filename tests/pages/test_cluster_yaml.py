"""cluster.yaml is one that `ray up` takes, and one that leaves no door open."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture
def cluster() -> dict:
    return yaml.safe_load(CLUSTER.read_text())


def test_rays_own_schema_takes_it(cluster: dict) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_schema_check_can_fail(cluster: dict) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError):
        validate_config(prepare_config({**cluster, "idle_timeout_mins": 10}))


def test_head_has_no_gpu_and_workers_scale_from_zero(cluster: dict) -> None:
    types = cluster["available_node_types"]
    assert "GPU" not in types[cluster["head_node_type"]]["resources"]
    workers = [kind for name, kind in types.items() if name != cluster["head_node_type"]]
    assert workers
    assert all(
        kind["min_workers"] == 0 < kind["max_workers"] and kind["resources"]["GPU"] for kind in workers
    )


def test_every_ray_start_asks_for_a_token_and_the_dashboard_stays_on_loopback(cluster: dict) -> None:
    starts = [
        c
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for c in cluster[key]
        if "ray start" in c
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
