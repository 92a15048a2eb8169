"""Checks by models, as they are described: consistency, language, judge. Those without one are in step_config.py."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen, Probability, grouped_pattern
from raygen.config.sampling import Sampling

SCORE = r"(?i)\bscore\W{0,8}?(-?\d+(?:\.\d+)?)"  # Score: 7, **Score**: 7/10, score = 0.5


class Consistency(Frozen):
    """Do claims contradict each other? By a classifier of sentence pairs, pair by pair.

    Of sentences: no two sentences of a sample may, and none may contradict a sentence of `against`. Of samples: a sample
    may not contradict most of the others.
    """

    model: str
    of: Literal["sentences", "samples"] = "sentences"
    claim: str = Field("{{ sample }}", description="a template; `sample` and `answer` are the sample's")
    against: str | None = Field(
        None, description="a template: a text whose sentences came before, such as the story so far"
    )
    label: str = Field("contradiction", description="the model's name of the class that counts")
    threshold: Probability = Field(0.5, description="two contradict each other from this probability on")
    most_pairs: int = Field(
        256,
        ge=1,
        le=100_000,
        description="pairs looked at: of each sample, those of its newest sentences first; of samples, in all",
    )

    @model_validator(mode="after")
    def _fits(self) -> Consistency:
        if self.against is not None and self.of == "samples":
            raise ValueError("`against` goes with `of: sentences`; samples are compared with each other")
        return self


class Language(Frozen):
    """Is the sample written in one of these languages?"""

    allowed: tuple[str, ...] = Field(min_length=1, max_length=200, description="ISO 639 codes: en, de")
    at_least: Probability = Field(
        0.9, description="probability of the allowed languages together; a few words are too few to tell"
    )


class Judge(Frozen):
    """What does a model say of the sample? Its reply has to hold a number, which is compared."""

    model: str
    prompt: str = Field(description="a template, with the rubric; `sample` and `answer` are the sample's")
    system: str | None = None
    pattern: str = Field(SCORE, description="its first group is the number; the last match counts")
    at_least: float = Field(description="accepted from this number on")
    sampling: Sampling = Field(Sampling(temperature=0), description="greedy, if unset")

    _compiles = field_validator("pattern")(grouped_pattern)
