"""Facts: what is known of an engine before anything is loaded: its verbs, its families of models, its options.

A job is validated with these alone. So the module of an engine's facts imports neither the engine's heavy library (torch,
aiohttp) nor what computes with it. An engine of one small file is its own facts, as `echo` is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from raygen.config.base import Frozen
from raygen.config.constraint import Constraint
from raygen.models.resolved import ResolvedModel


class EngineFacts:
    """What a job's checks, its plan and its placement ask of an engine. `Engine` inherits it."""

    # Where the engine is, `module:Class`; None: these facts are the engine's own class.
    engine: ClassVar[str | None] = None

    # Families of models that it takes, and the verbs that a model of each answers. `verbs` are those of all.
    families: ClassVar[Mapping[str, frozenset[str]]] = {"causal_lm": frozenset({"generate"})}
    verbs: ClassVar[frozenset[str]] = frozenset({"generate"})
    # What it takes: text, image, audio, video.
    inputs: ClassVar[frozenset[str]] = frozenset({"text"})

    # Whether the job has to name a `ref`, and whether that is a model reference to resolve to local files.
    needs_ref: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True
    takes_adapters: ClassVar[bool] = False
    # Whether adapters can be loaded and dropped while it runs.
    loads_adapters: ClassVar[bool] = False
    # Whether a request may have a `prompt`, text or token ids that go on as they are, in place of messages.
    takes_raw_prompts: ClassVar[bool] = False
    # Whether it tells how probable the tokens of a prompt are (`prompt_logprobs`).
    tells_prompt_logprobs: ClassVar[bool] = False
    # Whether tools that stand in a request reach the model, as far as the model's own template has a place for them.
    takes_tools: ClassVar[bool] = False
    # Whether it keeps to what a request's `constraint` says.
    takes_constraints: ClassVar[bool] = False
    # Whether it computes with quantised weights as they are.
    takes_quantised: ClassVar[bool] = False
    # Whether it writes prompts by the model's own chat template.
    templated: ClassVar[bool] = False
    # Whether a request says how its texts are drawn; a program's steps say so themselves.
    takes_sampling: ClassVar[bool] = True
    # Whether the same request and seed are promised the same result.
    replayable: ClassVar[bool] = True
    # Units of its usage beside those that raygen.usage lists.
    units: ClassVar[frozenset[str]] = frozenset()
    # Whether every request that is under way slows each of the others.
    shares_steps: ClassVar[bool] = False
    # Whether it answers requests of people before those of batches by itself.
    orders_by_priority: ClassVar[bool] = False
    # Whether it computes on all cores of its machine when there is no GPU for it.
    fills_cores: ClassVar[bool] = False

    # Options that change what is generated. They are part of a job's identity: a run is not resumed with others.
    deciding_options: ClassVar[frozenset[str]] = frozenset()

    class Options(Frozen):
        """What a job may say under `options`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.verbs = frozenset().union(*cls.families.values())

    @classmethod
    def labels(cls, model: ResolvedModel) -> tuple[str, ...] | None:
        """Return a classifier's classes before anything is loaded; None: it cannot be told. Raises EngineConfigError."""
        return None

    @classmethod
    def constraint_fault(cls, constraint: Constraint, options: Mapping[str, object]) -> str | None:
        """Return why a model with these options does not keep to a constraint; None: it does."""
        return None if cls.takes_constraints else "takes no constraints"

    @classmethod
    def cpus(cls, cores: int, gpus: float) -> float:
        """Return the logical CPUs to ask Ray for, on a node with `cores`, beside `gpus`.

        Never all of a node: reads would starve. Engines that fill the cores take all but one, since two of them on one CPU
        slow each other; beside a GPU, one.
        """
        if not cls.fills_cores:
            return 0.25
        return 1.0 if gpus else max(0.5, cores - 1.0)
