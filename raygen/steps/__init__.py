"""Steps: what a program does with a row, one verb a file. A new one is a file, a class in step_config.py and a line here."""

from __future__ import annotations

from importlib import import_module

STEPS = {
    "generate": "raygen.steps.generate:GenerateStep",
    "decompose": "raygen.steps.decompose:DecomposeStep",
    "verify": "raygen.steps.verify:VerifyStep",
    "refine": "raygen.steps.refine:RefineStep",
    "select": "raygen.steps.select:SelectStep",
    "score": "raygen.steps.score:ScoreStep",
    "filter": "raygen.steps.filter:FilterStep",
    "python": "raygen.steps.python:PythonFunctionStep",
    "redact": "raygen.steps.redact:RedactStep",
    "deduplicate": "raygen.steps.deduplicate:DeduplicateStep",
}


def load(place: str) -> type:
    """Return what `module:Class` names."""
    module, _, attribute = place.partition(":")
    found: type = getattr(import_module(module), attribute)
    return found
