"""raygen: distributed batch generation on Ray, with every row accounted for, exactly once.

The names below are public: what runs and trainings are started and read with, and what another package needs that adds an
engine, a step, a check, a score, a format or a family. Everything else may move between minor versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raygen.version import __version__

if TYPE_CHECKING:
    from raygen.config.base import Frozen
    from raygen.data.sources.base import SourceReader
    from raygen.engines.base import Engine
    from raygen.engines.requests import (
        ClassifyRequest,
        ClassifyResult,
        EmbedRequest,
        EmbedResult,
        GeneratedSample,
        GenerateRequest,
        GenerateResult,
        LikelihoodRequest,
        LikelihoodResult,
        ListenRequest,
        ListenResult,
        Media,
        MediaSample,
        RenderRequest,
        RenderResult,
        SpeakRequest,
        SpeakResult,
    )
    from raygen.errors import ConfigError, EngineError, RaygenError, RowError, UserError
    from raygen.pipeline.run import run_job
    from raygen.program.job import Job, load_job
    from raygen.runs.view import RunView, open_run
    from raygen.steps.base import Step
    from raygen.steps.checks import Check, Verdict
    from raygen.steps.row.calls import Calls
    from raygen.steps.row.story import Draft, Story
    from raygen.steps.scores import Scorer
    from raygen.train.recipe import Recipe, load_recipe
    from raygen.train.run import train as run_training

# Public names load on first use, so that `import raygen` stays fast and loads neither torch nor ray.
_PUBLIC = {
    # To run, to read what came out, and to train.
    "Job": "raygen.program.job",
    "Recipe": "raygen.train.recipe",
    "RunView": "raygen.runs.view",
    "load_job": "raygen.program.job",
    "load_recipe": "raygen.train.recipe",
    "open_run": "raygen.runs.view",
    "run_job": "raygen.pipeline.run",
    "run_training": "raygen.train.run:train",  # `raygen.train` is the room of that name
    # What goes wrong.
    "ConfigError": "raygen.errors",
    "EngineError": "raygen.errors",
    "RaygenError": "raygen.errors",
    "RowError": "raygen.errors",
    "UserError": "raygen.errors",
    # For engines.
    "ClassifyRequest": "raygen.engines.requests",
    "ClassifyResult": "raygen.engines.requests",
    "EmbedRequest": "raygen.engines.requests",
    "EmbedResult": "raygen.engines.requests",
    "Engine": "raygen.engines.base",
    "GenerateRequest": "raygen.engines.requests",
    "GenerateResult": "raygen.engines.requests",
    "GeneratedSample": "raygen.engines.requests",
    "LikelihoodRequest": "raygen.engines.requests",
    "LikelihoodResult": "raygen.engines.requests",
    "ListenRequest": "raygen.engines.requests",
    "ListenResult": "raygen.engines.requests",
    "Media": "raygen.engines.requests",
    "MediaSample": "raygen.engines.requests",
    "RenderRequest": "raygen.engines.requests",
    "RenderResult": "raygen.engines.requests",
    "SpeakRequest": "raygen.engines.requests",
    "SpeakResult": "raygen.engines.requests",
    # For steps, checks, scores, and their descriptions.
    "Calls": "raygen.steps.row.calls",
    "Check": "raygen.steps.checks",
    "Draft": "raygen.steps.row.story",
    "Frozen": "raygen.config.base",
    "Scorer": "raygen.steps.scores",
    "Step": "raygen.steps.base",
    "Story": "raygen.steps.row.story",
    "Verdict": "raygen.steps.checks",
    # For formats.
    "SourceReader": "raygen.data.sources.base",
}
__all__ = [
    "Calls", "Check", "ClassifyRequest", "ClassifyResult", "ConfigError", "Draft", "EmbedRequest", "EmbedResult",
    "Engine", "EngineError", "Frozen", "GenerateRequest", "GenerateResult", "GeneratedSample", "Job",
    "LikelihoodRequest", "LikelihoodResult", "ListenRequest", "ListenResult", "Media", "MediaSample", "RaygenError",
    "Recipe", "RenderRequest", "RenderResult", "RowError", "RunView", "Scorer", "SourceReader", "SpeakRequest",
    "SpeakResult", "Step", "Story", "UserError", "Verdict", "__version__", "load_job", "load_recipe", "open_run",
    "run_job", "run_training",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from importlib import import_module

        module, _, attribute = _PUBLIC[name].partition(":")
        return getattr(import_module(module), attribute or name)
    raise AttributeError(f"module 'raygen' has no attribute {name!r}")
