"""The steps that a job may take, as they are described: one class a verb. What they do is in raygen/steps/."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raygen.check_config import Consistency, Judge, Language
from raygen.config.base import (
    Frozen,
    Function,
    Name,
    Probability,
    Tools,
    Variable,
    exactly_one,
    in_order,
    pattern_of,
)
from raygen.config.constraint import Constraint
from raygen.config.sampling import Sampling
from raygen.last_step_config import Deduplicate as Deduplicate
from raygen.last_step_config import Near as Near
from raygen.last_step_config import Redact as Redact
from raygen.metric_config import Perplexity, Similarity, WordList


class Answer(Frozen):
    """Where a sample's final answer stands: the last match of a pattern (its first group, if it has one), or a JSON field."""

    pattern: str | None = None
    json_field: str | None = Field(
        None,
        description="a key, or several with dots between: `result.value`; lists have numbers: `steps.0.text`",
    )

    _compiles = field_validator("pattern")(lambda text: text if text is None else pattern_of(text))

    @model_validator(mode="after")
    def _one(self) -> Answer:
        exactly_one(self, "pattern", "json_field")
        return self


class Generate(Frozen):
    """Ask a model for `samples` texts a row: a prompt template (with a system template), or a messages column."""

    model: str
    system: str | None = None
    prompt: str | None = Field(None, description="a Jinja2 template over the row's columns")
    messages: str | None = Field(
        None,
        description="a column of chat messages: [{role, content}, ...]; or a path into one: body.messages",
    )
    images: tuple[str, ...] = Field(
        (), description="columns of pictures, sent with the prompt: bytes, {bytes, path}, or lists"
    )
    tools: Tools | None = Field(
        None, description="tools that the model may call: a column of lists of them, or the list itself"
    )
    adapter: str | None = Field(
        None, description="one of the model's adapters, or a template that names one; empty: the model itself"
    )
    samples: int = Field(1, ge=1, le=1024)
    sampling: Sampling = Sampling()
    constraint: Constraint | None = Field(None, description="what a sample's text has to be")
    answer: Answer | None = Field(None, description="where in a sample its final answer stands")
    into: Variable | None = Field(
        None,
        description="a variable for later templates: the text of the first sample that is still accepted",
    )

    @model_validator(mode="after")
    def _prompt_or_messages(self) -> Generate:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of `prompt` and `messages`")
        if self.messages is not None and (self.system is not None or self.images):
            raise ValueError(
                "`messages` brings its own system message and images: drop `system` and `images`"
            )
        return self


class Entailment(Frozen):
    """Does a premise entail the sample? By a classifier of sentence pairs."""

    model: str
    premise: str = Field(description="a template")
    hypothesis: str = Field("{{ sample }}", description="a template; `sample` and `answer` are the sample's")
    label: str = Field(
        "entailment", description="the model's name of the class that counts; a template may choose it by row"
    )
    by: Literal["whole", "sentences"] = Field(
        "whole",
        description="sentences: by that sentence of the premise, or two that follow each other, which speaks most for it; "
        "most models of sentence pairs have never read more",
    )
    threshold: Probability = Field(0.5, description="accepted from this probability on")


class Equals(Frozen):
    """Is the sample's answer the expected one?"""

    expected: str = Field(description="a template")
    compare: Literal["text", "number"] = Field("text", description="text: but for case and white space")
    wanted: bool = Field(True, description="false: it must be another one")


class Length(Frozen):
    """Bounds of a sample's length."""

    unit: Literal["words", "characters", "sentences"] = "words"
    at_least: int = Field(0, ge=0)
    at_most: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Length:
        in_order(self.at_least, self.at_most)
        return self


class Matches(Frozen):
    """Does a pattern occur in the sample?"""

    pattern: str
    wanted: bool = Field(True, description="false: the sample must not have it")

    _compiles = field_validator("pattern")(pattern_of)


class PythonCheck(Frozen):
    """A check of your own: `def check(sample: str, row: dict) -> bool | str`; a text says what is wrong."""

    function: Function = Field(
        description="module:function, importable from the current directory or the Python path, also where the engines run"
    )


class Verify(Frozen):
    """Check every sample; those that fail are rejected, with the finding."""

    entailment: Entailment | None = None
    consistency: Consistency | None = None
    equals: Equals | None = None
    json_schema: dict[str, Any] | None = Field(None, description="a sample has to be JSON that fits it")
    judge: Judge | None = None
    language: Language | None = None
    length: Length | None = None
    matches: Matches | None = None
    python: PythonCheck | None = None

    @model_validator(mode="after")
    def _one(self) -> Verify:
        exactly_one(self, *type(self).model_fields)
        return self

    @property
    def check(self) -> str:
        """Which check it is."""
        return exactly_one(self, *type(self).model_fields)


class Refine(Frozen):
    """Ask again for samples that were rejected, telling the model what was found; the checks above are then made again."""

    prompt: str = Field(
        description="a template; `sample` is the rejected sample, `finding` what is wrong with it"
    )
    system: str | None = None
    model: str | None = Field(None, description="the model that generated it, if unset")
    sampling: Sampling | None = Field(None, description="as the sample was generated, if unset")
    budget: int = Field(2, ge=1, le=64, description="samples that a row may ask for again")
    until: int = Field(1, ge=1, le=1024, description="no more once so many samples are accepted")


# Lines that begin with a number or a dash.
PARTS = r"(?m)^[ \t]*(?:\d{1,3}[.):]|[-*•])[ \t]+(.*\S)"


class PartAnswer(Frozen):
    """How a part of a question is answered."""

    prompt: str = Field(
        description="a template; `part`, its `number` from 1 on, and `answered`: [{part, answer}, ...] of those before it"
    )
    system: str | None = Field(None, description="as the question is split, if unset")
    model: str | None = Field(None, description="the model that splits the question, if unset")
    sampling: Sampling | None = Field(None, description="as the question is split, if unset")


class Decompose(Frozen):
    """Split a question into parts and answer them in order, each answer carried into the next prompt.

    The variable `into` is a text: the parts with their numbers, each with its answer on the next line, and blank lines between.
    """

    model: str
    prompt: str = Field(description="a template over the row's columns: asks for the parts")
    system: str | None = None
    sampling: Sampling = Sampling()
    pattern: str = Field(PARTS, description="one match a part: its first group, or all of it if it has none")
    most: int = Field(6, ge=1, le=64, description="parts that are answered, in order; more are left out")
    answer: PartAnswer
    into: Variable = "parts"

    _compiles = field_validator("pattern")(pattern_of)


class Diverse(Frozen):
    """The first sample, then each time the one that is farthest from all that were chosen."""

    count: int = Field(ge=1, le=1024)
    model: str | None = Field(
        None, description="an embedder: far in meaning; unset: few character 4-grams in common"
    )


class Select(Frozen):
    """Keep some of the accepted samples."""

    first: int | None = Field(None, ge=1, description="so many, in order")
    best: str | None = Field(None, description="the one with the highest score of this name")
    majority: Literal[True] | None = Field(
        None, description="the first sample with the commonest answer (self-consistency)"
    )
    diverse: Diverse | None = Field(None, description="so many that are far from each other")

    @model_validator(mode="after")
    def _one(self) -> Select:
        exactly_one(self, *type(self).model_fields)
        return self


class Score(Frozen):
    """Give every accepted sample a number, by name."""

    entailment: Entailment | None = Field(None, description="the probability; its threshold is not used")
    length: Literal["words", "characters", "sentences"] | None = None
    perplexity: Perplexity | None = None
    similarity: Similarity | None = None
    wordlist: WordList | None = None

    @model_validator(mode="after")
    def _one(self) -> Score:
        exactly_one(self, *type(self).model_fields)
        return self

    @property
    def metric(self) -> str:
        return exactly_one(self, *type(self).model_fields)


class PythonStep(Frozen):
    """A step of your own: `def step(row: dict, samples: list[dict]) -> dict | None`.

    It gets the row's columns and variables, and the samples that are accepted so far. It returns any of `variables` (by
    name), `scores` (by the sample's number, then by name) and `rejected` (by the sample's number, with a text that says why).
    """

    function: Function = Field(
        description="module:function, importable from the current directory or the Python path, also where the engines run"
    )
    reads: tuple[str, ...] = Field((), max_length=256, description="columns and variables that it needs")
    writes: tuple[Variable, ...] = Field(
        (),
        max_length=64,
        description="variables that it may write: a text, a number, true or false, or a list of texts",
    )
    scores: tuple[Name, ...] = Field(
        (), max_length=64, description="scores that it gives every sample it does not reject"
    )


class Filter(Frozen):
    """Reject samples whose score is out of bounds."""

    score: str
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Filter:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most, or both")
        in_order(self.at_least, self.at_most)
        return self


class Step(Frozen):
    """One verb applied to a row."""

    name: Name | None = Field(
        None, description="unset: the verb, numbered from its second step on: verify, verify-2"
    )
    generate: Generate | None = None
    decompose: Decompose | None = None
    verify: Verify | None = None
    refine: Refine | None = None
    select: Select | None = None
    score: Score | None = None
    filter: Filter | None = None
    python: PythonStep | None = None
    redact: Redact | None = None
    deduplicate: Deduplicate | None = None

    @model_validator(mode="after")
    def _one(self) -> Step:
        exactly_one(self, *VERBS)
        return self

    @property
    def verb(self) -> str:
        return exactly_one(self, *VERBS)

    @property
    def config(self) -> Any:
        return getattr(self, self.verb)


VERBS = tuple(field for field in Step.model_fields if field != "name")
