"""raygen: distributed batch generation on Ray, with every row accounted for, exactly once.

The names below are public: what runs and trainings are started and read with, and what another package needs that adds an
engine, a step, a check, a score, a format or a family. Everything else may move between minor versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raygen.version import __version__

if TYPE_CHECKING:
    from raygen.config.base import Frozen
    from raygen.config.media import ListenSettings, RenderSettings, SpeakSettings
    from raygen.config.model import ModelSpec
    from raygen.config.sampling import Sampling
    from raygen.config.source import Source
    from raygen.data.sources.base import InputFile, Range, SourcePlan, SourceReader
    from raygen.engines.base import Engine, EngineStats
    from raygen.engines.facts import EngineFacts
    from raygen.engines.requests import (
        ClassifyRequest,
        ClassifyResult,
        EmbedRequest,
        EmbedResult,
        GeneratedSample,
        GenerateRequest,
        GenerateResult,
        Heard,
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
        TokenLogprob,
    )
    from raygen.errors import (
        ConfigError,
        EngineConfigError,
        EngineError,
        InterruptedRunError,
        RaygenError,
        RowError,
        SourceError,
        StorageError,
        TrainingError,
        UserError,
    )
    from raygen.improve.course import Course
    from raygen.improve.rounds import Improved
    from raygen.improve.rounds import improve as run_course
    from raygen.models.families import Family
    from raygen.models.resolved import ResolvedModel
    from raygen.pipeline.result import RunResult
    from raygen.pipeline.retry import retry_run
    from raygen.pipeline.run import run_job
    from raygen.program.job import Job, load_job
    from raygen.review.exports import ExportFormat
    from raygen.review.verify import Verification, verify_run
    from raygen.runs.view import RunView, open_run
    from raygen.steps.base import Step
    from raygen.steps.checks import Check, Verdict
    from raygen.steps.context import Context
    from raygen.steps.row.calls import Calls
    from raygen.steps.row.story import Draft, Story
    from raygen.steps.scores import Scorer
    from raygen.train.families.base import Block, Evaluated, Meter, Phase, Trainer
    from raygen.train.families.lessons import Batch, Objective
    from raygen.train.recipe import Recipe, load_recipe
    from raygen.train.run import TrainResult
    from raygen.train.run import train as run_training
    from raygen.usage import Usage

# Public names load on first use, so that `import raygen` stays fast and loads neither torch nor ray.
_PUBLIC = {
    # To run, to read what came out, and to train.
    "Course": "raygen.improve.course",
    "Improved": "raygen.improve.rounds",
    "Job": "raygen.program.job",
    "Recipe": "raygen.train.recipe",
    "RunResult": "raygen.pipeline.result",
    "RunView": "raygen.runs.view",
    "TrainResult": "raygen.train.run",
    "Verification": "raygen.review.verify",
    "load_job": "raygen.program.job",
    "load_recipe": "raygen.train.recipe",
    "open_run": "raygen.runs.view",
    "retry_run": "raygen.pipeline.retry",
    "run_course": "raygen.improve.rounds:improve",  # `raygen.improve`, too
    "run_job": "raygen.pipeline.run",
    "run_training": "raygen.train.run:train",  # `raygen.train` is the room of that name
    "verify_run": "raygen.review.verify",
    # What goes wrong.
    "ConfigError": "raygen.errors",
    "EngineConfigError": "raygen.errors",
    "EngineError": "raygen.errors",
    "InterruptedRunError": "raygen.errors",
    "RaygenError": "raygen.errors",
    "RowError": "raygen.errors",
    "SourceError": "raygen.errors",
    "StorageError": "raygen.errors",
    "TrainingError": "raygen.errors",
    "UserError": "raygen.errors",
    # For engines.
    "ClassifyRequest": "raygen.engines.requests",
    "ClassifyResult": "raygen.engines.requests",
    "EmbedRequest": "raygen.engines.requests",
    "EmbedResult": "raygen.engines.requests",
    "Engine": "raygen.engines.base",
    "EngineFacts": "raygen.engines.facts",
    "EngineStats": "raygen.engines.base",
    "GenerateRequest": "raygen.engines.requests",
    "GenerateResult": "raygen.engines.requests",
    "GeneratedSample": "raygen.engines.requests",
    "Heard": "raygen.engines.requests",
    "LikelihoodRequest": "raygen.engines.requests",
    "LikelihoodResult": "raygen.engines.requests",
    "ListenRequest": "raygen.engines.requests",
    "ListenResult": "raygen.engines.requests",
    "ListenSettings": "raygen.config.media",
    "Media": "raygen.engines.requests",
    "MediaSample": "raygen.engines.requests",
    "ModelSpec": "raygen.config.model",
    "RenderRequest": "raygen.engines.requests",
    "RenderResult": "raygen.engines.requests",
    "RenderSettings": "raygen.config.media",
    "ResolvedModel": "raygen.models.resolved",
    "Sampling": "raygen.config.sampling",
    "SpeakRequest": "raygen.engines.requests",
    "SpeakResult": "raygen.engines.requests",
    "SpeakSettings": "raygen.config.media",
    "TokenLogprob": "raygen.engines.requests",
    "Usage": "raygen.usage",
    # For steps, checks, scores, and their descriptions.
    "Calls": "raygen.steps.row.calls",
    "Check": "raygen.steps.checks",
    "Context": "raygen.steps.context",
    "Draft": "raygen.steps.row.story",
    "Frozen": "raygen.config.base",
    "Scorer": "raygen.steps.scores",
    "Step": "raygen.steps.base",
    "Story": "raygen.steps.row.story",
    "Verdict": "raygen.steps.checks",
    # For formats.
    "ExportFormat": "raygen.review.exports",
    "InputFile": "raygen.data.sources.base",
    "Range": "raygen.data.sources.base",
    "Source": "raygen.config.source",
    "SourcePlan": "raygen.data.sources.base",
    "SourceReader": "raygen.data.sources.base",
    # For families: how one is trained.
    "Batch": "raygen.train.families.lessons",
    "Block": "raygen.train.families.base",
    "Evaluated": "raygen.train.families.base",
    "Family": "raygen.models.families",
    "Meter": "raygen.train.families.base",
    "Objective": "raygen.train.families.lessons",
    "Phase": "raygen.train.families.base",
    "Trainer": "raygen.train.families.base",
}
__all__ = [
    "Batch", "Block", "Calls", "Check", "ClassifyRequest", "ClassifyResult", "ConfigError", "Context",
    "Course", "Draft", "EmbedRequest", "EmbedResult", "Engine", "EngineConfigError", "EngineError",
    "EngineFacts", "EngineStats", "Evaluated", "ExportFormat", "Family", "Frozen", "GenerateRequest",
    "GenerateResult", "GeneratedSample", "Heard", "Improved", "InputFile", "InterruptedRunError", "Job",
    "LikelihoodRequest", "LikelihoodResult", "ListenRequest", "ListenResult", "ListenSettings", "Media",
    "MediaSample", "Meter", "ModelSpec", "Objective", "Phase", "Range", "RaygenError", "Recipe",
    "RenderRequest", "RenderResult", "RenderSettings", "ResolvedModel", "RowError", "RunResult", "RunView",
    "Sampling", "Scorer", "Source", "SourceError", "SourcePlan", "SourceReader", "SpeakRequest",
    "SpeakResult", "SpeakSettings", "Step", "StorageError", "Story", "TokenLogprob", "TrainResult",
    "Trainer", "TrainingError", "Usage", "UserError", "Verdict", "Verification", "__version__", "load_job",
    "load_recipe", "open_run", "retry_run", "run_course", "run_job", "run_training", "verify_run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from importlib import import_module

        module, _, attribute = _PUBLIC[name].partition(":")
        return getattr(import_module(module), attribute or name)
    raise AttributeError(f"module 'raygen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
