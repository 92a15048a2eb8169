"""ServiceConfig: the complete, validated description of a service. Frozen; every unknown key is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen, Name
from raygen.config.files import override, read_mapping, validate
from raygen.config.model import REPLICAS, ModelSpec
from raygen.config.purpose import SERVICE, check_purpose
from raygen.config.source import StorageOptions
from raygen.errors import ConfigError
from raygen.program.checks import check_model

# What a Ray Serve config file names to serve with raygen.
IMPORT_PATH = "raygen.serve.cluster.deploy:build"

Seconds = Annotated[float, Field(gt=0, le=7 * 86400)]


class Prices(Frozen):
    """What a model costs, for the usage ledger: by unit, for a million of it (of seconds and pictures too)."""

    currency: str = Field("EUR", pattern=r"^[A-Z]{3}$")
    per_million: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="unit of usage: price; such as {prompt_tokens: 0.1, output_tokens: 0.4}"
    )


class ServedModel(ModelSpec):
    """A model of a service: what a job says of one, and how many replicas hold it."""

    replicas: tuple[int, int] | None = Field(
        None, description="on Ray Serve: [min, max]; min 0 scales to zero; [1, 1] if unset"
    )
    idle_s: Seconds = Field(600, description="a replica that nobody asked for so long goes")
    rows_per_replica: float | None = Field(
        None,
        gt=0,
        description="rows under way and waiting that want one more replica; the engine's capacity if unset",
    )
    bound: int = Field(
        64,
        ge=0,
        le=100_000,
        description="interactive requests that may wait at a replica; more get 429 and Retry-After",
    )
    batch_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="part of the slots that batch rows take while somebody waits for an answer",
    )
    cold_wait_s: Seconds = Field(60, description="how long a request waits for a model that is loading")
    prices: Prices | None = None

    @field_validator("replicas")
    @classmethod
    def _in_order(cls, replicas: tuple[int, int] | None) -> tuple[int, int] | None:
        if replicas is not None and not 0 <= replicas[0] <= max(replicas[1], 1) <= 1000:
            raise ValueError("replicas is [min, max] with 0 <= min <= max <= 1000, and max 1 or more")
        return replicas

    @model_validator(mode="after")
    def _only_pools_have_replicas(self) -> ServedModel:
        """Refuse what a job says of placement: of a service every model has replicas of its own."""
        if self.placement != "colocated":
            raise ValueError("placement: only of a job; a service gives every model replicas of its own")
        return self

    @model_validator(mode="after")
    def _fits(self) -> ServedModel:
        check_model(self)
        return self

    @property
    def spec(self) -> ModelSpec:
        """What a job would say of it."""
        mine = {name: getattr(self, name) for name in ModelSpec.model_fields if name not in REPLICAS}
        return ModelSpec(**mine)


class Program(Frozen):
    """A job's program, offered as the model `program:NAME`: its steps answer one request."""

    job: str = Field(description="the job file; its models are those of the service with the same names")
    column: str | None = Field(
        None,
        description="the column that gets the last user message; the only one that the steps read if unset",
    )


class Limits(Frozen):
    """What a key may use; None: no limit."""

    rpm: int | None = Field(None, ge=1, description="requests a minute")
    tpm: int | None = Field(None, ge=1, description="tokens a minute, prompt and output together")
    in_flight: int | None = Field(None, ge=1, description="requests at once")
    monthly_tokens: int | None = Field(None, ge=1, description="tokens a calendar month (UTC)")


class Keys(Frozen):
    """Whether requests need a key."""

    required: bool | None = Field(
        None, description="unset: on loopback only once the store holds keys; on any other address always"
    )


class Gateway(Frozen):
    """How requests come in."""

    copies: int = Field(1, ge=1, le=64, description="gateways on Ray Serve; limits are divided among them")
    held: int = Field(64, ge=0, le=10_000, description="requests that wait for a model without replicas")
    longest_answer_s: Seconds = Field(
        3600, description="a request is given up, a replica drained, after so long"
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="names under which browsers may reach it, beside loopback's: Host and Origin are checked",
    )
    image_hosts: tuple[str, ...] = Field(
        (), description="hosts that image_url may name; empty: data: URLs alone, nothing is ever fetched"
    )


class Batches(Frozen):
    """The batch API."""

    enabled: bool = True
    max_window_s: Seconds = Field(72 * 3600, description="the longest completion_window")
    max_file_bytes: int = Field(200 * 2**20, ge=1, description="of an uploaded file")
    max_requests: int = Field(50_000, ge=1, description="lines of a batch file")
    rows_in_flight: int | None = Field(
        None, ge=1, description="rows of batches at a model at once; what keeps its engine full if unset"
    )
    grace_s: Seconds = Field(60, description="chunks under way get so long after expiry or a cancel")


class Telemetry(Frozen):
    """OpenTelemetry traces; off unless an endpoint is given."""

    endpoint: str | None = Field(None, description="OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces")
    sample: float = Field(1.0, ge=0, le=1, description="part of the requests that are traced")


class ServiceConfig(Frozen):
    """A service: models behind HTTP, with files and batches in a store."""

    name: Name = "raygen"
    store: str = Field(
        "service", description="where keys, files, batches and usage live: a path or s3://bucket/prefix"
    )
    storage: StorageOptions = StorageOptions()
    models: dict[Name, ServedModel] = Field(min_length=1, description="by the names that clients use")
    programs: dict[Name, Program] = {}
    keys: Keys = Keys()
    limits: dict[str, Limits] = Field(
        {}, description="by tenant; `default` is for those without an entry of their own"
    )
    gateway: Gateway = Gateway()
    batches: Batches = Batches()
    telemetry: Telemetry = Telemetry()
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="of programs; requests draw their own seed if they name none"
    )

    @field_validator("models")
    @classmethod
    def _plain_names(cls, models: dict[str, ServedModel]) -> dict[str, ServedModel]:
        if taken := [name for name in models if name == "program"]:
            raise ValueError(f"{taken[0]!r}: the name is taken: program:NAME are the service's programs")
        return models


def load_service(path: str | Path, overrides: Sequence[str] = ()) -> ServiceConfig:
    """Read a service's configuration: a file of its own, or the `args` of an application in a Ray Serve config file.

    Raises:
        ConfigError: naming file, key and what is allowed.
    """
    value, where = read_mapping(path), str(path)
    check_purpose(value, SERVICE, where)
    if "applications" in value:
        value, where = _args(value["applications"], where)
    return validate(override(value, overrides), ServiceConfig, where)


def _args(applications: Any, where: str) -> tuple[dict[str, Any], str]:
    """Return the `args` of the one application that is raygen's, and where they stand. Raises ConfigError."""
    listed = applications if isinstance(applications, list) else []
    mine = [
        number
        for number, each in enumerate(listed)
        if isinstance(each, dict) and each.get("import_path") == IMPORT_PATH
    ]
    if len(mine) != 1:
        raise ConfigError(f"{where}: applications: {len(mine)} with import_path {IMPORT_PATH}; one is wanted")
    args = listed[mine[0]].get("args")
    if not isinstance(args, dict):
        raise ConfigError(f"{where}: applications.{mine[0]}.args: a service's keys and values are wanted")
    return args, f"{where}: applications.{mine[0]}.args"
