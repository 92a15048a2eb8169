"""What training's parts agree on: examples, prepared units in blocks, and the contract of a model family.

A row becomes an example, examples become units, units become blocks (units.py). Blocks are fixed once; an epoch is a
permutation of them, and an optimizer step some blocks in a row. So what a step computes does not depend on the
number of workers, and a place in a training is two numbers: epoch and step.
"""

# Shape letters: U = units of a block, T = tokens of its longest one, C = labels, V = vocabulary.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from raygen.models.families import family_of
from raygen.registry import imported
from raygen.train.families.units import Example, Units
from raygen.train.recipe import Recipe

if TYPE_CHECKING:
    import torch

SPLITS = ("train", "validation", "test")
MOST_TEXT = 2000  # characters of a text of one of the worst examples that are kept


@dataclass(frozen=True, slots=True)
class Block:
    """One micro-batch: a row group of a prepared shard."""

    shard: int  # number of its file in Prepared.shards[split]
    group: int  # number of the row group in it
    units: int
    # What computing it costs, in the unit of the recipe's batch, padding included.
    cost: int
    # What a step's loss is divided by, such as the number of targets.
    weight: int


@dataclass(frozen=True, slots=True)
class Phase:
    """What a step does with some of the weights: it changes them, by an optimizer of their own, to lower a loss of their own.

    A step takes the due phases one after the other, over the same blocks.
    """

    name: str
    # By their names in the model. Every weight that is learnt is of exactly one phase.
    weights: Mapping[str, torch.nn.Parameter]
    # As Trainer.loss: summed over the batch.
    loss: Callable[[torch.nn.Module, dict[str, torch.Tensor]], torch.Tensor]
    # The phase is taken in every n-th step, from the training's first. The first phase is taken in all.
    every: int = 1


@dataclass(slots=True)
class Evaluated:
    """What an evaluation found."""

    metrics: dict[str, float]  # `loss` always; a family's own, such as `perplexity`, `macro_f1`, `accuracy`
    details: dict[str, Any] = field(default_factory=dict)  # JSON: confusion matrix, calibration bins, ...
    worst: list[dict[str, Any]] = field(default_factory=list)  # highest loss first: row_id, loss, text, ...


class Trainer(ABC):
    """How a family learns: its examples, its batch, its loss, its metrics. Built in the driver and in every worker.

    Args:
        directory: the resolved base: config.json, safetensors, tokenizer.
        labels: a classifier's, once they are known; the driver finds them.
    """

    # How its examples are kept.
    units: ClassVar[Units]
    # The names of its phases, for recipes that set an optimizer of their own for one.
    PHASES: ClassVar[tuple[str, ...]] = ("model",)
    # Whether short examples share a unit; this may depend on the base.
    packs: bool = False
    # Metrics that are better when higher; all others are better when lower.
    higher_is_better: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, recipe: Recipe, directory: Path, labels: tuple[str, ...] | None = None) -> None:
        self.recipe = recipe
        self.directory = directory
        self.labels = labels

    @classmethod  # noqa: B027 - a family may take any base
    def check_base(cls, directory: Path) -> None:
        """Refuse a base of another family, from its config alone. Raises ConfigError."""

    def check(self) -> None:  # noqa: B027 - a family may have nothing to refuse
        """Refuse, before anything is started, what the base cannot do. Loads no weights.

        Raises:
            ConfigError: the base has not the layers that the recipe names, or reads fewer tokens.
        """

    @abstractmethod
    def encode(self, row_id: str, row: Mapping[str, Any]) -> Example:
        """Make a row an example. Loads what that takes, such as a tokenizer, and never the model.

        Raises:
            RowError: `too_long` (it costs more than batch.unit_cost, and preparation.too_long is `skip`), `missing_value`,
                `invalid_text`, `unknown_label`, `no_targets`.
        """

    def find_labels(self, values: Mapping[Any, int]) -> tuple[str, ...] | None:
        """Return the labels, from what the label column holds (value: how often); None for families without labels.

        Raises:
            ConfigError: labels out of range, or fewer than two.
        """
        return None

    @abstractmethod
    def load_model(self, device: torch.device) -> torch.nn.Module:
        """Load the base in float32, with what recipe.trained says learnable and the others frozen.

        Raises:
            ConfigError: the base is of another family, or has not the layers that the recipe names.
        """

    @abstractmethod
    def collate(self, block: pa.Table, device: torch.device) -> dict[str, torch.Tensor]:
        """Make a micro-batch of a block's units (`units.schema`)."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss summed over the batch: divided by the weight of its blocks, it is the mean."""

    def phases(self, model: torch.nn.Module) -> list[Phase]:
        """Return the phases of a step, in their order; one for all weights, unless a family has more."""
        from raygen.train.families.learnable import trainable

        return [Phase(self.PHASES[0], trainable(model), lambda model, batch: self.loss(model, batch))]

    @abstractmethod
    def new_meter(self) -> Meter:
        """Return an empty meter, to evaluate a split."""

    def baselines(
        self,
        blocks: Mapping[str, Sequence[Block]],
        split: str,
        read: Callable[[str, list[int]], Iterator[pa.Table]],
    ) -> dict[str, dict[str, Any]]:
        """Return what the trained model has to beat on a split: name -> {metrics}. Bounded time; none unless a family has some.

        Args:
            read: yields blocks of a split by their numbers.
        """
        return {}

    @abstractmethod
    def save(self, model: torch.nn.Module, directory: Path, temperature: float | None = None) -> None:
        """Write a directory that transformers (or peft, for an adapter) and raygen load: safetensors, config, tokenizer.

        The last use of the model: merging an adapter into it changes it.

        Args:
            temperature: the logits of the saved model are divided by it.
        """


class Meter(ABC):
    """Collects what an evaluation needs, block by block; meters of several workers merge."""

    @abstractmethod
    def add(self, model: torch.nn.Module, block: pa.Table, device: torch.device) -> None:
        """Compute a block, without gradients, and remember what counts."""

    @abstractmethod
    def state(self) -> Any:
        """Return what was collected as plain Python and numpy values, to send to another worker."""

    @abstractmethod
    def merge(self, state: Any) -> None: ...

    @abstractmethod
    def result(self, temperature: float | None = None) -> Evaluated:
        """Say what was found, of a model whose logits are divided by `temperature`."""

    def temperature(self) -> float | None:
        """Return what to divide the logits by, so that probabilities mean what they say; None where there is no such thing."""
        return None


class Worst:
    """Keeps at most `size` rows, highest loss first; which ones does not depend on the order they come in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.rows: list[dict[str, Any]] = []

    def add(self, row_id: str, loss: float, describe: Callable[[], dict[str, Any]]) -> None:
        """Take a row if it is bad enough; only then is it described."""
        full = len(self.rows) >= self._size
        if self._size and not (full and (-loss, row_id) > self._key(self.rows[-1])):
            said = {
                name: value[:MOST_TEXT] if isinstance(value, str) else value
                for name, value in describe().items()
            }
            self.merge([{"row_id": row_id, "loss": loss, **said}])

    def merge(self, rows: list[dict[str, Any]]) -> None:
        self.rows = sorted([*self.rows, *rows], key=self._key)[: self._size]

    @staticmethod
    def _key(row: dict[str, Any]) -> tuple[float, str]:
        return -row["loss"], row["row_id"]


def trainer_class(family: str) -> type[Trainer]:
    """Return how a family learns. The recipe has checked that it can."""
    place = family_of(family).trainer
    if place is None:
        raise ValueError(f"family {family!r} is not trained")
    found: type[Trainer] = imported(place, f"the trainer of family {family!r}")
    return found
