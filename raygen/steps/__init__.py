"""Steps: what a program does with a row, one verb a file. A new one is a file, a class in step_config.py and a line here."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raygen.program.job import Job
    from raygen.steps.base import Step

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


def make_steps(job: Job) -> list[Step]:
    """Return a job's steps, ready to run on any row. Raises ConfigError: a template that does not parse."""
    names = step_names(job)
    made: list[Step] = []
    for number, (config, name) in enumerate(zip(job.steps, names, strict=True)):
        made.append(load(STEPS[config.verb])(config.config, name, f"steps.{number}.{config.verb}", job, made))
    return made


def step_names(job: Job) -> list[str]:
    """Name every step: what it is called, or its verb, numbered from the second on.

    Raises:
        ValueError: two steps of one name.
    """
    verbs: Counter[str] = Counter()
    names = []
    for step in job.steps:
        verbs[step.verb] += 1
        usual = step.verb if verbs[step.verb] == 1 else f"{step.verb}-{verbs[step.verb]}"
        names.append(step.name or usual)
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(f"steps.{number}.name: another step is called {name!r}; name one of them")
    return names


def check_steps(job: Job) -> None:
    """Refuse what the steps of a job cannot do together. Raises ValueError, naming the step."""
    step_names(job)
    scores: set[str] = set()  # that every sample has
    new: set[str] = set()  # of them, those that were given since the last generate or refine
    begun = False  # is there a sample?
    checks = 0  # since the last generate or refine
    for number, step in enumerate(job.steps):
        where = f"steps.{number}.{step.verb}"
        kind: type[Step] = load(STEPS[step.verb])
        begun = begun or step.verb == "generate"
        if kind.needs_samples and not begun:
            raise ValueError(f"{where}: there is no sample yet; a `generate` has to stand before it")
        for key, model, family in kind.models(step.config):
            _check_model(job, f"{where}.{key}", model, family)
        if step.verb == "refine" and not checks:
            raise ValueError(
                f"{where}: no `verify` stands between it and the samples; it would have nothing to mend"
            )
        if step.verb == "generate":  # what it asks of a text is a check of its own
            checks = int(step.config.constraint is not None or step.config.answer is not None)
        else:
            checks = 0 if step.verb == "refine" else checks + (step.verb == "verify")
        if step.verb in ("generate", "refine"):  # what a refine mends gets those anew, and no older ones
            scores, new = set(new) if step.verb == "refine" else set(), set()
        kind.check(step.config, where, job, number, frozenset(scores))
        given = kind.scores(step.config, step_names(job)[number])
        scores, new = scores | given, new | given
    if not begun:
        raise ValueError("steps: there is no `generate` among them; a row's outcome is made of its samples")


def _check_model(job: Job, where: str, name: str, family: str) -> None:
    if name not in job.models:
        raise ValueError(f"{where}: no model {name!r}; models: {', '.join(job.models)}")
    if job.models[name].family != family:
        does = {
            "causal_lm": "generates no text",
            "classifier": "classifies no texts",
            "embedder": "embeds no texts",
        }
        raise ValueError(
            f"{where}: {name!r} is of family {job.models[name].family!r}, which {does[family]}; allowed: {family}"
        )
