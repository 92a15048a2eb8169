"""Every metric that the dashboard shows is one that raygen or Ray Serve exports."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

from raygen.serve.metrics import Metrics
from raygen.serve.models.link import Figures
from raygen.usage import Usage

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana" / "raygen.json"
NAME = re.compile(r"\b(?:raygen|ray_serve)_[a-z_]+")


def shown() -> set[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {name for panel in panels for target in panel["targets"] for name in NAME.findall(target["expr"])}


def of_raygen() -> set[str]:
    metrics = Metrics()
    metrics.answered("/v1/chat/completions", "m", 200, 1.0)
    metrics.first_piece("/v1/chat/completions", "m", 1.0)
    metrics.gap("/v1/chat/completions", "m", 1.0)
    metrics.used("m", Usage(prompt_tokens=1))
    metrics.broken("/v1/chat/completions", "m")
    metrics.left("/v1/chat/completions", "m")
    lines = metrics.text({"m": Figures("ready")}).splitlines()
    return {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}


def of_serve() -> set[str]:
    """Return the names in Serve's source; Ray puts `ray_` before them."""
    [root] = importlib.util.find_spec("ray.serve").submodule_search_locations
    text = "".join(path.read_text() for path in Path(root, "_private").rglob("*.py"))
    return {f"ray_{name}" for name in re.findall(r'"(serve_[a-z_]+)"', text)}


def test_raygen_exports_every_metric_of_its_own() -> None:
    mine = {name for name in shown() if name.startswith("raygen_")}
    assert mine
    assert mine <= of_raygen()


def test_it_shows_all_that_raygen_exports() -> None:
    parts = ("_sum", "_count")
    assert {name for name in of_raygen() if not name.endswith(parts)} <= shown()


def test_serve_exports_every_metric_of_its_own() -> None:
    theirs = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown() if name.startswith("ray_serve_")}
    assert theirs
    assert theirs <= of_serve()


def test_every_panel_has_a_place_of_its_own_and_says_what_it_shows() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)
