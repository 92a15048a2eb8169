"""Job: the complete, validated description of one batch. Frozen; every unknown key is refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, ValidationError, field_validator, model_validator

from raygen.config.base import Day, Frozen, Name, Sampling
from raygen.config.execution import Execution, ordered
from raygen.last_step_config import Deduplicate
from raygen.steps.spec import Generate, Step

__all__ = [
    "Accept", "Execution", "Frozen", "Generate", "Job", "ModelSpec", "Name", "Sampling", "Sink", "Source", "Step",
    "StorageOptions", "digest_of", "load_job",
]  # fmt: skip


class StorageOptions(Frozen):
    """How to reach S3. Credentials never stand in a job: boto3's environment, profile and role rules apply."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None


class Csv(Frozen):
    """How CSV files are written, if not as RFC 4180 has it."""

    delimiter: str = Field(",", description='one character between fields: ",", ";", "|", "\\t"')
    escape: str | None = Field(
        None, description='a character that stands before quotes in quoted fields, as Spark writes it: "\\\\"'
    )
    header: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None, min_length=1, description="names of the columns of files whose first line is a row"
    )

    @field_validator("delimiter")
    @classmethod
    def _one_sign(cls, delimiter: str) -> str:
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise ValueError(
                'one ASCII character, such as ",", ";", "|" or "\\t" (in double quotes); no quote, no line break'
            )
        return delimiter

    @field_validator("escape")
    @classmethod
    def _one_escape(cls, escape: str | None) -> str | None:
        if escape is not None and (len(escape) != 1 or not escape.isascii() or escape in '"\r\n'):
            raise ValueError('one ASCII character, such as "\\\\"; quotes that are doubled need none')
        return escape

    @model_validator(mode="after")
    def _two_signs(self) -> Csv:
        if self.escape == self.delimiter:
            raise ValueError("delimiter and escape are two different characters")
        return self


class Source(Frozen):
    format: Literal["parquet", "jsonl", "csv", "webdataset", "text", "images"]
    uri: str | list[str] = Field(description="a path, a glob, a folder or s3://bucket/key; or a list of them")
    key: str | None = Field(
        None,
        description="the column whose value is the row_id, or a path into one (meta.id); unique over the whole source",
    )
    csv: Csv | None = Field(None, description="of format csv: how the files are written")
    max_rows: int | None = Field(None, ge=1)
    max_line_bytes: int = Field(16 * 2**20, ge=1024, le=2**30)
    max_media_bytes: int = Field(64 * 2**20, ge=1024, le=2**31)
    max_media_pixels: int = Field(50_000_000, ge=1)
    storage: StorageOptions = StorageOptions()

    @property
    def uris(self) -> list[str]:
        return [self.uri] if isinstance(self.uri, str) else list(self.uri)

    @field_validator("uri")
    @classmethod
    def _not_empty(cls, uri: str | list[str]) -> str | list[str]:
        if not uri or (isinstance(uri, list) and not all(uri)):
            raise ValueError("name at least one path")
        return uri

    @model_validator(mode="after")
    def _csv_is_of_csv(self) -> Source:
        if self.csv is not None and self.format != "csv":
            raise ValueError(f"csv: only of format csv, not {self.format}")
        return self


THINK = ("<think>", "</think>")
REPLICAS = ("replicas", "cpus_per_replica", "gpus_per_replica")  # of a pooled model


class ModelSpec(Frozen):
    family: Literal["causal_lm", "embedder", "classifier"]
    engine: str
    ref: str | None = Field(
        None,
        description="hf:org/name@revision, pypi:package==version/path, s3://..., ./dir; the name of the model for `openai`",
    )
    dtype: Literal["bfloat16", "float16", "float32"] = "float32"
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

    _ordered = field_validator("replicas")(lambda replicas: replicas and ordered(replicas))

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

    @model_validator(mode="after")
    def _options_fit_engine(self) -> ModelSpec:
        from raygen.engines import engine_class

        engine = engine_class(self.engine)
        if self.family not in engine.families:
            taken = ", ".join(sorted(engine.families))
            raise ValueError(f"engine {self.engine!r} takes models of family {taken}, not {self.family!r}")
        if self.tags is not None and self.family != "causal_lm":
            raise ValueError(f"reasoning_tags: only of models that write; this one is a {self.family}")
        if self.tags is not None and (not all(map(str.strip, self.tags)) or self.tags[0] == self.tags[1]):
            raise ValueError("reasoning_tags: [opening, closing], two texts that differ; or true")
        if self.adapters and not engine.takes_adapters:
            raise ValueError(f"engine {self.engine!r} takes no adapters")
        if engine.needs_ref and not self.ref:
            raise ValueError(f"engine {self.engine!r} needs a `ref`")
        try:
            engine.Options.model_validate(self.options)
        except ValidationError as error:
            from raygen.config.files import explain

            raise ValueError(f"options of engine {self.engine!r}: {explain(error, engine.Options)}") from None
        return self


class Sink(Frozen):
    format: Literal["parquet"] = "parquet"
    chunk_rows: int = Field(128, ge=1, le=100_000, description="rows a chunk: the unit of work and of commit")


class Accept(Frozen):
    """How much is enough: of a run, and of a row."""

    target: int | None = Field(
        None, ge=1, description="the run ends once so many rows are accepted; chunks under way still count"
    )
    max_attempts_per_row: int = Field(
        1,
        ge=1,
        le=64,
        description="a row that ends rejected is tried again from the first step on, with other seeds; so often in all",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Accept:
        if self.target is None and self.max_attempts_per_row == 1:
            raise ValueError("give `target`, `max_attempts_per_row` (above 1), or both")
        return self


class Job(Frozen):
    name: Name
    source: Source
    models: dict[Name, ModelSpec] = Field(min_length=1)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=64)
    keep: tuple[str, ...] | dict[str, str] = Field(
        (), description="input columns to pass through; `{column: name}` stores one under another name"
    )
    seed: int = Field(0, ge=0, le=2**63 - 1)
    date: Day | None = Field(
        None, description="that chat templates show when they print one; unset: the day of planning, UTC"
    )
    accept: Accept | None = None
    sink: Sink = Sink()
    execution: Execution = Execution()
    output: str | None = Field(
        None, description="the run directory: a path or s3://bucket/prefix; runs/<name> if unset"
    )

    @model_validator(mode="after")
    def _steps_fit(self) -> Job:
        from raygen.steps import check_steps

        check_steps(self)
        return self

    @field_validator("keep", mode="before")
    @classmethod
    def _names(cls, keep: Any) -> Any:
        names = list(keep.values()) if isinstance(keep, dict) else []
        if not isinstance(keep, dict | list | tuple) or not all(isinstance(n, str) for n in (*keep, *names)):
            raise ValueError(
                "a list of columns, [topic, url], or a map, {column: the name to store it under}"
            )
        wrong = [name for name in names if not name or name.startswith("__") or names.count(name) > 1]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r}: "
                + (
                    "two columns would have this name"
                    if names.count(wrong[0]) > 1
                    else "no name for a column"
                )
                + "; a kept column has a name of its own, without __ before it"
            )
        return keep

    @property
    def kept_as(self) -> dict[str, str]:
        """The columns to pass through: name in the outcome -> column of the source."""
        if isinstance(self.keep, dict):
            return {name: column for column, name in self.keep.items()}
        return {column: column for column in self.keep}

    @property
    def output_uri(self) -> str:
        return self.output or f"runs/{self.name}"

    @property
    def deduplicate(self) -> Deduplicate | None:
        """How duplicates are found at the end of the run, if they are."""
        return self.steps[-1].deduplicate

    def identity(self) -> dict[str, Any]:
        """What decides the outcomes: everything but where the run lives, how wide it is, and how engines run."""
        from raygen.engines import engine_class

        whole = self.model_dump(mode="json", exclude={"execution", "output", "name"})
        for spec in whole["models"].values():
            deciding = engine_class(spec["engine"]).deciding_options
            spec["options"] = {key: value for key, value in spec["options"].items() if key in deciding}
            for key in ("placement", *REPLICAS):
                del spec[key]
            if spec["reasoning_tags"] is None:
                del spec["reasoning_tags"]
        del whole["source"]["storage"]
        if self.source.csv is None:
            del whole["source"]["csv"]
        for key in ("accept", "date"):
            if whole[key] is None:
                del whole[key]
        whole["steps"] = [step.model_dump(mode="json", exclude_none=True) for step in self.steps]
        return whole

    def config_hash(self) -> str:
        return digest_of(self.identity())


def load_job(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    input_uri: str | None = None,
    output_uri: str | None = None,
    max_rows: int | None = None,
) -> Job:
    """Read a job file; the named arguments win over `overrides`, which win over the file. Raises ConfigError."""
    from raygen.config.files import read_config

    last = [
        f"{key}={orjson.dumps(value).decode()}"
        for key, value in (("source.uri", input_uri), ("output", output_uri), ("source.max_rows", max_rows))
        if value is not None
    ]
    return read_config(path, Job, [*overrides, *last])


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form (sorted keys, no white space)."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
