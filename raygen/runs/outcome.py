"""Outcome: what became of a row. One versioned Arrow schema, written here and read by everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 4  # 3 had no reasoning, refusal, tool_calls and yardstick: see `lifted`
ACCEPTED, REJECTED, FAILED = STATUSES = ("accepted", "rejected", "failed")

USAGE = pa.struct([("prompt_tokens", pa.int64()), ("output_tokens", pa.int64())])
_TOKEN = [("token_id", pa.int64()), ("token", pa.string()), ("logprob", pa.float64())]
TOKEN_LOGPROB = pa.struct([*_TOKEN, ("top", pa.list_(pa.struct(_TOKEN)))])
SAMPLE = pa.struct(
    [
        ("index", pa.int32()),  # among those asked for together
        ("number", pa.int32()),  # its own in the row
        ("step", pa.string()),
        ("parent", pa.int32()),  # the number of the sample that it mends
        ("call", pa.string()),  # the call that made it: a digest of what was asked of which weights
        ("text", pa.string()),
        ("answer", pa.string()),  # the final answer in it, when the step says where that stands
        (
            "reasoning",
            pa.string(),
        ),  # what the model thought before it, where that is told apart from the text
        ("refusal", pa.string()),  # the words with which it declined to answer
        ("tool_calls", pa.string()),  # what it wanted to call: JSON, as the endpoint gave it
        ("media", pa.large_binary()),
        ("media_type", pa.string()),
        ("finish_reason", pa.string()),
        ("seed", pa.int64()),
        ("scores", pa.map_(pa.string(), pa.float64())),
        ("usage", USAGE),
        ("logprobs", pa.list_(TOKEN_LOGPROB)),  # one a token, when the sampling asks for them
    ]
)
ATTEMPT = pa.struct(
    [
        ("step", pa.string()),
        ("attempt", pa.int32()),  # at the whole row
        ("sample", pa.int32()),  # its number; null: about the row
        ("decision", pa.string()),
        ("detail", pa.string()),
        ("model", pa.string()),
        ("scores", pa.map_(pa.string(), pa.float64())),
    ]
)
CALL = pa.struct(
    [
        ("key", pa.string()),  # a digest of what was asked of which weights
        ("model", pa.string()),
        (
            "value",
            pa.string(),
        ),  # the answer as JSON, such as a classifier's probabilities of every text
        ("tokens", pa.int64()),  # of what was asked
    ]
)
ERROR = pa.struct([("code", pa.string()), ("message", pa.string()), ("step", pa.string())])
MODEL = pa.struct(
    [("name", pa.string()), ("ref", pa.string()), ("digest", pa.string()), ("adapter", pa.string()),
     ("engine", pa.string()), ("engine_version", pa.string()), ("dtype", pa.string())]
)  # fmt: skip
LINEAGE = pa.struct(
    [
        ("models", pa.list_(MODEL)),
        ("config_hash", pa.string()),
        ("run_seed", pa.int64()),
        ("machine", pa.string()),  # CPU or GPU model and thread count: bits may differ elsewhere
        ("yardstick", pa.string()),  # how many rows an engine computes at once, where bits depend on that
        ("raygen_version", pa.string()),
        ("schema_version", pa.int32()),
        ("ai_generated", pa.bool_()),
    ]
)
FIELDS = [
    pa.field("row_id", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("samples", pa.list_(SAMPLE), nullable=False),  # accepted, or those that were rejected last
    pa.field("variables", pa.map_(pa.string(), pa.string()), nullable=False),  # what steps wrote
    pa.field("discarded", pa.list_(SAMPLE), nullable=False),  # every other sample that was generated
    pa.field("attempts", pa.list_(ATTEMPT), nullable=False),
    pa.field("calls", pa.list_(CALL), nullable=False),  # to engines, but for those whose samples are above
    pa.field("error", ERROR),
    pa.field("lineage", LINEAGE, nullable=False),
    pa.field("fingerprint", pa.binary()),  # of an accepted row, when the job looks for duplicates
]
OWN_COLUMNS = tuple(f.name for f in FIELDS)
METADATA = {"raygen.schema_version": str(SCHEMA_VERSION)}


@dataclass(slots=True)
class Outcome:
    """What became of one row. Built by a program; `kept` holds the input columns that the job passes through."""

    row_id: str
    status: str
    reason: str | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)  # dicts with the fields of SAMPLE
    attempts: list[dict[str, Any]] = field(default_factory=list)  # dicts with the fields of ATTEMPT
    error: dict[str, str | None] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    discarded: list[dict[str, Any]] = field(default_factory=list)  # dicts with the fields of SAMPLE
    calls: list[dict[str, Any]] = field(default_factory=list)  # dicts with the fields of CALL
    kept: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: bytes | None = None


def outcome_schema(kept: Mapping[str, pa.DataType]) -> pa.Schema:
    """Return the schema of a run's outcomes: raygen's own columns, then the kept ones. No column is of null type."""
    columns = [pa.field(name, pa.string() if pa.types.is_null(kind) else kind) for name, kind in kept.items()]
    return pa.schema([*FIELDS, *columns], metadata=METADATA)


def lifted(table: pa.Table) -> pa.Table:
    """Return outcomes that an earlier version wrote as this one has them: what they lack is null.

    Every row's lineage still says which version wrote it.

    Args:
        table: all of an outcome's columns, or some.
    """
    own = {field.name: field for field in FIELDS}
    fields = [own.get(field.name, field) for field in table.schema]
    if all(new.type == old.type for new, old in zip(fields, table.schema, strict=True)):
        return table
    return table.cast(pa.schema(fields, metadata=METADATA))


def outcome_table(
    outcomes: Sequence[Outcome], lineage: dict[str, Any], kept: Mapping[str, pa.DataType]
) -> pa.Table:
    """Lay outcomes out as a table of `outcome_schema(kept)`; all rows share one lineage.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: a kept value does not fit its pinned type.
    """
    schema = outcome_schema(kept)
    count = len(outcomes)
    one_lineage = pa.array([lineage], LINEAGE)
    columns: list[pa.Array] = [
        pa.array([o.row_id for o in outcomes], pa.string()),
        pa.array([o.status for o in outcomes], pa.string()),
        pa.array([o.reason for o in outcomes], pa.string()),
        pa.array([o.samples for o in outcomes], pa.list_(SAMPLE)),
        pa.array([list(o.variables.items()) for o in outcomes], pa.map_(pa.string(), pa.string())),
        pa.array([o.discarded for o in outcomes], pa.list_(SAMPLE)),
        pa.array([o.attempts for o in outcomes], pa.list_(ATTEMPT)),
        pa.array([o.calls for o in outcomes], pa.list_(CALL)),
        pa.array([o.error for o in outcomes], ERROR),
        one_lineage.take(pa.array([0] * count, pa.int64())),
        pa.array([o.fingerprint for o in outcomes], pa.binary()),
    ]
    for name in schema.names[len(columns) :]:
        columns.append(pa.array([o.kept.get(name) for o in outcomes], schema.field(name).type))
    return pa.Table.from_arrays(columns, schema=schema)
