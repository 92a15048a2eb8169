"""Inner: a check of `verify` or a score of `score`: what a step holds one of, named below the step in the job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from raygen.config.one_of import OneOf
from raygen.data.text.template import Template
from raygen.steps.base import Described, Step

if TYPE_CHECKING:
    from raygen.steps.context import Context


class Inner(Described):
    """What a step holds one of. Stateless: safe to share between tasks.

    Args:
        config: its part of the job, of `Config`.
        step: the step that holds it, which compiles its templates.

    Raises:
        ConfigError: it can never do its work, or a template does not parse.
    """

    # The model that it asks, for the decisions that the row's outcome keeps.
    model: str | None = None

    def __init__(self, config: Any, step: Step) -> None:
        self.config = config
        self.step = step

    def template(self, text: str, key: str) -> Template:
        """Compile a template that stands below `key` in its description."""
        return self.step.template(text, f"{self.step.config.chosen}.{key}")

    @classmethod
    def check(cls, config: Any, where: str, context: Context) -> None:
        """Refuse what cannot be. Raises ValueError, naming `where`."""


class HoldingStep(Step):
    """A step that holds an `Inner`, which its description names."""

    config: OneOf

    def __init__(
        self, config: OneOf, name: str, where: str, context: Context, before: Sequence[Step]
    ) -> None:
        super().__init__(config, name, where, context, before)
        self.inner: Any = config.kind(config.config, self)

    @property
    def judges(self) -> bool:
        return True

    @classmethod
    def models(cls, config: OneOf) -> Iterable[tuple[str, str, str]]:
        for key, model, verb in config.kind.models(config.config):
            yield f"{config.chosen}.{key}", model, verb

    @classmethod
    def labels(cls, config: OneOf) -> Iterable[tuple[str, str, str]]:
        for key, model, label in config.kind.labels(config.config):
            yield f"{config.chosen}.{key}", model, label

    @classmethod
    def check(cls, config: OneOf, where: str, context: Context, number: int, scores: frozenset[str]) -> None:
        config.kind.check(config.config, f"{where}.{config.chosen}", context)
