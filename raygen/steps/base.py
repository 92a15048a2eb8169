"""The step contract: a step changes a row's story, and says beforehand what it reads, writes and needs.

`Described` is what steps have in common with checks and scores (inner.py): a description, and the models that it names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from raygen.config.base import Nothing
from raygen.data.text.template import Template
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story

if TYPE_CHECKING:
    from raygen.config.constraint import Constraint
    from raygen.config.sampling import Sampling
    from raygen.runs.outcome import Outcome
    from raygen.steps.context import Context


@dataclass(frozen=True, slots=True)
class Ask:
    """A way in which a step asks a language model, for what can be refused before work.

    Attributes:
        where: the job's key.
        model: the job's name for it.
        system: whether it is asked with a system text of the job's.
        sampling: how its samples are drawn.
        tools: the job's key for the tools that it is told of.
    """

    where: str
    model: str
    system: bool = False
    sampling: Sampling | None = None
    tools: str | None = None


class Described(ABC):
    """What a key of a job stands for; `Config` describes what may stand below the key.

    `Config` is a frozen model (`raygen.config.base.Frozen`) or another type that pydantic reads, such as `dict[str, Any]`.
    """

    Config: ClassVar[Any] = Nothing

    config: Any

    @classmethod
    def models(cls, config: Any) -> Iterable[tuple[str, str, str]]:
        """Yield the models that a description names: the key that names it, the model, the verb it has to answer."""
        return ()

    @classmethod
    def labels(cls, config: Any) -> Iterable[tuple[str, str, str]]:
        """Yield the classes that a description counts on: the key that names it, the classifier, the class."""
        return ()


class Step(Described):
    """One step of a job, ready to run on any row. Stateless: safe to share between tasks.

    Args:
        config: its part of the job, of `Config`.
        name: its own among the steps.
        where: its place in the job, for errors.
        context: what it may know of the job.
        before: the steps before it.

    Raises:
        ConfigError: a template does not parse.
    """

    # Names that its templates get beside a row's.
    about_samples: ClassVar[frozenset[str]] = frozenset({"sample", "answer"})
    # Whether a step that makes samples has to stand before it.
    needs_samples: ClassVar[bool] = True
    # Whether it begins with new samples, as `generate` does; makes rejected ones again, as `refine` does.
    begins: ClassVar[bool] = False
    mends: ClassVar[bool] = False
    # Whether it makes text, which a `redact` before it would not see.
    makes_text: ClassVar[bool] = False
    # Whether it has the last word on every outcome (`seal`).
    seals: ClassVar[bool] = False

    def __init__(self, config: Any, name: str, where: str, context: Context, before: Sequence[Step]) -> None:
        self.config = config
        self.name = name
        self.where = where
        self.run_seed = context.seed
        # What it reads, columns or variables -> the job's key that names them; and the variables that it writes.
        self.columns: dict[str, str] = {}
        self.writes: frozenset[str] = frozenset()
        self.asks: list[Ask] = []
        self.templates: list[Template] = []

    def template(self, text: str, key: str, given: frozenset[str] = frozenset()) -> Template:
        """Compile a template and note what it reads.

        Args:
            text: Jinja2.
            key: below the step in the job, for errors.
            given: names that this template alone gets beside a row's.
        """
        made = Template(text, f"{self.where}.{key}")
        self.templates.append(made)
        for column in sorted(made.columns - self.about_samples - given):
            self.columns.setdefault(column, made.where)
        return made

    def check_columns(self, columns: Mapping[str, pa.DataType]) -> None:
        """Refuse what the columns of the source, of these types, cannot be used for. Raises ConfigError."""
        read = {name: columns[name] for name in self.columns if name in columns}
        for template in self.templates:
            template.check(read)

    def notes(self, columns: Mapping[str, pa.DataType]) -> Iterable[str]:
        """Yield what is worth telling the user once, about columns of the source that it does not read."""
        return ()

    @property
    def judges(self) -> bool:
        """Whether its decisions are taken from the record when a row's story is told again, not made anew."""
        return False

    @abstractmethod
    async def run(self, story: Story, calls: Calls) -> None:
        """Do it. Raises RowError: the row fails; EngineError: the engine is broken."""

    def require(self) -> None:
        """Look for what it needs on this machine, before any work. Raises ConfigError."""

    def seal(self, outcome: Outcome, story: Story) -> None:
        """Have the last word on an outcome, however the row ended, also when it never came to this step.

        Called in a thread. If it raises, nothing of what was generated is kept.
        """

    @classmethod
    def checks(cls, config: Any) -> bool:
        """Return whether it finds faults in samples, which a `refine` after it can mend."""
        return False

    @classmethod
    def makes_media(cls, config: Any) -> bool:
        """Return whether the samples that it begins with are pictures, sounds or videos."""
        return False

    @classmethod
    def takes_media(cls, config: Any) -> bool:
        """Return whether it does with samples that are pictures, sounds or videos, and so have no text."""
        return False

    @classmethod
    def scores(cls, config: Any, name: str) -> frozenset[str]:
        """Return the names of the scores that samples have after it."""
        return frozenset()

    @classmethod
    def check(cls, config: Any, where: str, context: Context, number: int, scores: frozenset[str]) -> None:
        """Refuse what does not fit the steps before it, which gave samples these scores. Raises ValueError."""


def check_constraint(constraint: Constraint | None, model: str, where: str, context: Context) -> None:
    """Refuse a constraint that the model's engine does not keep to. Raises ValueError, naming `where`."""
    from raygen.engines import ENGINES, engine_facts

    if constraint is None:
        return
    spec = context.models[model]
    fault = engine_facts(spec.engine).constraint_fault(constraint, spec.options)
    if fault is not None:
        able = ", ".join(name for name in ENGINES.own if engine_facts(name).takes_constraints)
        raise ValueError(
            f"{where}: model {model!r}: engine {spec.engine!r} {fault}; engines that take constraints: {able}"
        )
    if constraint.json_schema is not None:
        from jsonschema.exceptions import SchemaError

        from raygen.steps.tools.schemas import dialect_of

        try:  # texts are compared with it afterwards
            dialect_of(constraint.json_schema)
        except SchemaError as error:
            place = ".".join([where, "json_schema", *map(str, error.absolute_path)])
            raise ValueError(f"{place}: not a JSON schema: {error.message[:200]}") from None
