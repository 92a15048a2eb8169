"""Outcome: what became of a row. One versioned Arrow schema, written here and read by everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from raygen.data.sources.exact import JSON_MARK, JSON_TEXT, is_json
from raygen.json_text import read_json

# 4 said nothing of media but their type and had no units in `usage`, 3 had no reasoning: see `lifted`.
SCHEMA_VERSION = 5
ACCEPTED, REJECTED, FAILED = STATUSES = ("accepted", "rejected", "failed")

USAGE = pa.struct(
    [
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("units", pa.map_(pa.string(), pa.float64())),  # amounts in other units, such as `images`
    ]
)
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
        ("media", pa.large_binary()),  # null where it stands beside the table: in `shard`
        ("media_type", pa.string()),
        ("width", pa.int32()),  # in pixels, of pictures and video
        ("height", pa.int32()),
        ("seconds", pa.float64()),  # of sound and video
        ("size_bytes", pa.int64()),  # of the media
        ("digest", pa.string()),  # SHA-256 of the media, as hex
        ("shard", pa.string()),  # the key of the tar archive that holds the media, among the commit's objects
        ("offset", pa.int64()),  # where in it they begin
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
# Reasons of failed rows that were never asked: the batch that they belong to was over before.
UNASKED = frozenset({"batch_cancelled", "batch_expired"})
OWN_COLUMNS = tuple(f.name for f in FIELDS)
METADATA = {"raygen.schema_version": str(SCHEMA_VERSION)}


@dataclass(slots=True)
class Outcome:
    """What became of one row, built by a program. The input columns that the job passes through stand beside it."""

    row_id: str
    status: str
    reason: str | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)  # dicts with the fields of SAMPLE
    attempts: list[dict[str, Any]] = field(default_factory=list)  # dicts with the fields of ATTEMPT
    error: dict[str, str | None] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    discarded: list[dict[str, Any]] = field(default_factory=list)  # dicts with the fields of SAMPLE
    calls: list[dict[str, Any]] = field(default_factory=list)  # dicts with the fields of CALL
    fingerprint: bytes | None = None


def outcome_schema(kept: Mapping[str, pa.DataType]) -> pa.Schema:
    """Return the schema of a run's outcomes: raygen's own columns, then the kept ones. No column is of null type.

    A column of JSON (`JSON_TEXT`) is one of strings, whose field says so: any reader of Parquet takes it.
    """
    return pa.schema([*FIELDS, *(_field(name, kind) for name, kind in kept.items())], metadata=METADATA)


def _field(name: str, kind: pa.DataType) -> pa.Field:
    if kind == JSON_TEXT:
        return pa.field(name, pa.string(), metadata=JSON_MARK)
    return pa.field(name, pa.string() if pa.types.is_null(kind) else kind)


def outcome_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield outcomes as dicts: maps as dicts, columns of JSON as their values."""
    columns = [each.name for each in table.schema if is_json(each)]
    for batch in table.to_batches(max_chunksize=1000):
        for row in batch.to_pylist(maps_as_pydicts="lossy"):
            for name in columns:
                row[name] = None if row[name] is None else read_json(row[name])
            yield row


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
    outcomes: Sequence[Outcome], lineage: dict[str, Any], kept: Mapping[str, pa.Array | pa.ChunkedArray]
) -> pa.Table:
    """Lay outcomes out as a table of `outcome_schema`; all rows share one lineage.

    Args:
        kept: the columns that were passed through, a value for every outcome.

    Raises:
        pyarrow.ArrowInvalid, UnicodeEncodeError, OverflowError: a text that was made is no Unicode, or a number too large.
    """
    schema = outcome_schema({name: column.type for name, column in kept.items()})
    count = len(outcomes)
    one_lineage = pa.array([lineage], LINEAGE)
    columns: list[pa.Array | pa.ChunkedArray] = [
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
        *(column.cast(pa.string()) if column.type == JSON_TEXT else column for column in kept.values()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)
