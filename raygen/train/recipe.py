"""Recipe: the complete, validated description of one training. Frozen; every unknown key is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from raygen.config.base import Day, Frozen, Name
from raygen.config.files import validate_part
from raygen.config.source import Source
from raygen.data.sources import CheckedSource
from raygen.models.text.chat_template import refuse_given
from raygen.storage.sealed import digest_of
from raygen.train.families.lessons import Batch, Objective, objective_class

Share = Annotated[float, Field(ge=0, lt=1)]


class Preparation(Frozen):
    """What happens to rows before anything is learnt from them."""

    normalise: bool = Field(True, description="Unicode NFC, control characters out, line ends as \\n")
    deduplicate: bool = Field(True, description="of rows that come out alike, only the first is kept")
    validation: Share = Field(
        0.1, description="share of the rows, by a hash of the row id; 0 beside a source of its own"
    )
    test: Share = Field(0.0, description="share of the rows that is kept for a last test")
    too_long: Literal["skip", "cut"] = Field(
        "skip", description="examples that cost more than the batch allows, such as batch.max_tokens"
    )
    max_broken: float = Field(
        0.01, ge=0, le=1, description="share of broken rows, at most; more stop the training before it starts"
    )

    @model_validator(mode="after")
    def _something_left(self) -> Preparation:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave no rows to train on")
        return self


class Augmentation(Frozen):
    """Changed copies of training rows, made anew for every row from its id and the seed. Text only."""

    copies: int = Field(0, ge=0, le=16, description="of each training row, beside itself")
    delete_words: float = Field(0.0, ge=0, lt=1, description="share of words left out")
    swap_words: float = Field(0.0, ge=0, lt=1, description="share of words exchanged with the next one")
    typos: float = Field(0.0, ge=0, lt=1, description="share of words with two letters exchanged")
    lower_case: bool = Field(False, description="also write the copies in small letters")
    columns: tuple[str, ...] = Field((), description="the columns to change; needed if copies are made")

    @model_validator(mode="after")
    def _columns_named(self) -> Augmentation:
        changes = self.delete_words or self.swap_words or self.typos or self.lower_case
        if self.copies and not (self.columns and changes):
            raise ValueError("copies need `columns`, and one of delete_words, swap_words, typos, lower_case")
        return self


class Lora(Frozen):
    """A low-rank adapter: small matrices that are learnt beside the frozen weights."""

    rank: int = Field(16, ge=1, le=1024, description="the width of the small matrices")
    alpha: float = Field(32.0, gt=0, description="the adapter is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="of what goes into the adapter")
    targets: tuple[str, ...] = Field((), description="names of linear layers; none: all but the head's")
    merge: bool = Field(False, description="also save the base with the adapter merged in")


class Trained(Frozen):
    """Which weights are learnt: `all` (unless said otherwise), those of the `top_layers`, or a `lora` adapter's."""

    top_layers: int | None = Field(
        None, ge=0, description="so many of the last layers, and the head; 0: the head"
    )
    lora: Lora | None = Field(None, description="learn an adapter, and leave the base as it is")

    @model_validator(mode="after")
    def _one_way(self) -> Trained:
        if self.lora is not None and self.top_layers is not None:
            raise ValueError("give `top_layers` or `lora`, not both")
        return self


class Optimizer(Frozen):
    """How weights follow gradients."""

    name: Literal["adamw", "sgd"] = Field("adamw", description="AdamW, or SGD with momentum")
    learning_rate: float = Field(5e-5, gt=0, le=10, description="the highest of the schedule")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), description="of adamw: how slowly its two averages forget"
    )
    eps: float = Field(1e-8, gt=0, description="of adamw: added to the root of the second average")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases and norms have none")
    clip_norm: float | None = Field(1.0, gt=0, description="gradients longer than this are scaled down to it")


class Schedule(Frozen):
    """How the learning rate changes over the steps: up in the warmup, then down to the floor."""

    kind: Literal["linear", "cosine", "constant"] = Field("linear", description="the shape of the way down")
    warmup: Share = Field(0.05, description="share of all steps, from 0 up to the learning rate")
    floor: float = Field(0.0, ge=0, le=1, description="share of the learning rate at the end")


class PhaseSettings(Frozen):
    """What one phase of a family that has several does otherwise than the recipe says for all."""

    optimizer: Optimizer | None = Field(None, description="unset: the recipe's")
    schedule: Schedule | None = Field(None, description="unset: the recipe's")


class Ema(Frozen):
    """A moving average of the weights, evaluated and saved in their place."""

    decay: float = Field(0.999, gt=0, lt=1, description="share of the average that a step keeps")
    warmup: int = Field(
        10, ge=0, description="the larger, the longer the first steps keep less; 0: `decay` from the first"
    )


class Checkpoints(Frozen):
    """When the state of a training is saved, and how many of them stay."""

    every_steps: int = Field(200, ge=1, description="optimizer steps between two checkpoints")
    keep: int = Field(2, ge=1, le=100, description="the best ones; the newest is always kept")


class Evaluation(Frozen):
    """When a training looks at the validation split, and what it looks for."""

    every_steps: int = Field(200, ge=1, description="optimizer steps between two evaluations")
    metric: str = Field("loss", description="of the validation split: what the best checkpoint has best")
    patience: int | None = Field(
        None, ge=1, description="stop after so many evaluations without a better one"
    )
    worst: int = Field(20, ge=0, le=1000, description="examples of the highest loss, for the report")
    calibrate: bool = Field(True, description="a classifier: fit a temperature on the validation split")


class Recipe(Frozen):
    """A training: rows from a source, a base model, and how it learns from them."""

    name: Name = Field(
        description="letters, digits, `.`, `-` and `_`; the run directory is runs/NAME unless `output` says otherwise"
    )
    family: str = Field(description="causal_lm or classifier, or one of another package")
    base: str = Field(
        min_length=1, description="hf:org/name@revision, pypi:package==version/path, s3://..., ./dir"
    )
    source: CheckedSource
    validation_source: CheckedSource | None = Field(
        None, description="rows to validate on, instead of a share of the source's"
    )
    test_source: CheckedSource | None = Field(
        None, description="rows to test on at the end, instead of a share of the source's"
    )
    objective: SerializeAsAny[Objective] = Field(description="what a row teaches; its keys are the family's")
    template: dict[str, Any] | None = Field(
        None,
        max_length=64,
        description="arguments of the base's chat template, such as enable_thinking: false",
    )
    date: Day | None = Field(
        None,
        description="that the base's chat template shows if it prints one; unset: the day of preparing, UTC",
    )
    preparation: Preparation = Preparation()
    augmentation: Augmentation = Augmentation()
    trained: Trained = Trained()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    phases: dict[str, PhaseSettings] | None = Field(
        None, description="settings of single phases, of families with several, such as discriminator"
    )
    ema: Ema | None = Field(None, description="evaluate and save a moving average of the weights")
    dropout: float | None = Field(None, ge=0, lt=1, description="of the base's layers; unset: as it says")
    batch: SerializeAsAny[Batch] = Field(
        {}, validate_default=True, description="how much is computed at once, in the family's unit"
    )
    epochs: int = Field(1, ge=1, le=10_000, description="how often the training split is gone through")
    max_steps: int | None = Field(None, ge=1, description="stop there, whatever the epochs")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: weights stay float32 (autocast)"
    )
    workers: int | tuple[int, int] = Field(1, description="or [min, max]: as many as there is room for")
    gpus_per_worker: float = Field(
        0, ge=0, description="GPUs that a worker asks Ray for; 0: it computes on CPUs"
    )
    cpus_per_worker: float = Field(0.5, gt=0, description="logical CPUs that a worker asks Ray for")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of a worker; unset: its share of the cores"
    )
    checkpoints: Checkpoints = Checkpoints()
    evaluation: Evaluation = Evaluation()
    seed: int = Field(0, ge=0, le=2**63 - 1, description="order, augmentation and dropout follow from it")
    output: str | None = Field(
        None, description="the run directory: a path or s3://bucket/prefix; runs/NAME if unset"
    )

    _allowed = field_validator("template")(lambda given: given if given is None else refuse_given(given))

    @field_validator("workers")
    @classmethod
    def _ordered(cls, workers: int | tuple[int, int]) -> int | tuple[int, int]:
        low, high = (workers, workers) if isinstance(workers, int) else workers
        if not 1 <= low <= high <= 10_000:
            raise ValueError("workers is a number, or [min, max] with 1 <= min <= max <= 10000")
        return workers

    @field_validator("family")
    @classmethod
    def _trained(cls, family: str) -> str:
        objective_class(family)
        return family

    @field_validator("objective", "batch", mode="plain")
    @classmethod
    def _of_the_family(cls, given: Any, info: ValidationInfo) -> Any:
        if "family" not in info.data:  # refused already
            return given
        objective = objective_class(info.data["family"])
        return validate_part(given, objective if info.field_name == "objective" else objective.Batch)

    @model_validator(mode="after")
    def _parts_agree(self) -> Recipe:
        for key in ("template", "date"):
            if getattr(self, key) and not self.objective.writes_chats:
                raise ValueError(
                    f"{key}: only what a causal_lm learns of chats is written by a chat template"
                )
        if self.validation_source is not None and self.preparation.validation:
            raise ValueError("validation_source: set preparation.validation to 0, or drop one of them")
        if self.test_source is not None and self.preparation.test:
            raise ValueError("test_source: set preparation.test to 0, or drop one of them")
        return self

    @property
    def sources(self) -> list[Source]:
        """All sources that rows are read from."""
        return [each for each in (self.source, self.validation_source, self.test_source) if each is not None]

    @property
    def output_uri(self) -> str:
        return self.output or f"runs/{self.name}"

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights: everything but where the run lives and how wide it is."""
        outside = {
            "name",
            "output",
            "workers",
            "gpus_per_worker",
            "cpus_per_worker",
            "threads",
            "checkpoints",
        }
        later = ("template", "date", "phases", "ema")  # keys that earlier trainings did not have
        unset = {key for key in later if getattr(self, key) is None}
        return {
            **self.model_dump(mode="json", exclude=outside | unset),
            "objective": self.objective.identity(),
        }

    def digest(self) -> str:
        return digest_of(self.identity())


def load_recipe(path: str | Path, overrides: Sequence[str] = (), *, output_uri: str | None = None) -> Recipe:
    """Read a recipe file; `output_uri` wins over `overrides`, which win over the file. Raises ConfigError."""
    from raygen.config.files import read_config
    from raygen.config.purpose import RECIPE

    last = [] if output_uri is None else [f'output="{output_uri}"']
    return read_config(path, Recipe, [*overrides, *last], RECIPE)
