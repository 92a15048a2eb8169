"""The endpoint contract: a body is parsed and checked, then answered whole or in pieces, by whatever stands for the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from raygen.engines.base import Engine
from raygen.engines.requests import INTERACTIVE, Media
from raygen.models.resolved import ResolvedModel
from raygen.usage import Usage


class WireModel(BaseModel):
    """A part of a request's body. Wrong types are refused; keys that it does not know are noted, and told in a header."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Served:
    """A model as clients name it, and what answers for it.

    Attributes:
        name: `smol`; of an adapter `smol:pirate`; of a program `program:math`.
        engine: answers verbs: a loaded engine, or a stand-in for replicas elsewhere. Raises UnavailableError too.
        adapter: the adapter that the name means; None: the model itself.
        created_s: since when it is offered, in seconds since the epoch.
    """

    name: str
    engine: Engine
    model: ResolvedModel
    adapter: str | None = None
    created_s: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request is beside its body.

    Attributes:
        request_id: names it in logs and ids of answers; of a batch line it follows from the batch and the line.
        seed: of what draws at random while the body names no seed, in [0, 2**53).
        created_s: the `created` of answers, in seconds since the epoch.
        priority: INTERACTIVE or BATCH.
    """

    request_id: str
    seed: int
    created_s: int
    priority: int = INTERACTIVE


@dataclass(slots=True)
class Answered:
    """A whole answer.

    Attributes:
        body: JSON, or a medium such as speech, which is sent as it is.
        usage: amounts by unit, for limits and the ledger.
        headers: to be sent beside it.
    """

    body: dict[str, Any] | Media
    usage: Usage
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Piece:
    """One event of a stream, and what was used up to it: a client that leaves has used that much."""

    body: dict[str, Any] | bytes
    usage: Usage


BodyT = TypeVar("BodyT", bound=WireModel)


class Endpoint(ABC, Generic[BodyT]):
    """One path of the protocol. Stateless: safe to share between tasks.

    Whatever a body cannot have is an ApiError before anything is asked. A stream's first piece is asked for before a status is
    sent, so that errors which come that early have theirs.

    Args:
        image_hosts: hosts whose images a body may name by an https: URL, for engines that fetch them; nothing is fetched here.
    """

    path: ClassVar[str]
    # The verb of engines that a model needs to be asked here.
    verb: ClassVar[str]
    # The wire models of its body and its answer, for parsing and for /openapi.json.
    Body: ClassVar[type[WireModel]]
    Answer: ClassVar[type[BaseModel] | None] = None
    # Whether a body may name no model: then it is answered without one.
    model_optional: ClassVar[bool] = False
    # Whether a body may say `stream: true`.
    streams: ClassVar[bool] = False
    # Keys of a body that are known and change nothing: named in the header `x-raygen-ignored`, as unknown ones are.
    ignored: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, image_hosts: Collection[str] = ()) -> None:
        self.image_hosts = frozenset(image_hosts)

    def model_of(self, body: BodyT) -> str | None:
        """Return the name of the model that a body asks."""
        model: str | None = getattr(body, "model", None)
        return model

    def wants_stream(self, body: BodyT) -> bool:
        return self.streams and bool(getattr(body, "stream", False))

    def check(self, body: BodyT, served: Served) -> None:
        """Refuse what this model cannot keep. Raises ApiError: `unsupported_parameter`, `invalid_value`."""

    def reserve(self, body: BodyT) -> Usage:
        """Return what an answer may use at most, as far as a body tells: limits hold it until the answer is there."""
        return Usage()

    @abstractmethod
    async def answer(self, body: BodyT, served: Served, asked: Asked) -> Answered:
        """Answer whole. Raises ApiError, RowError, UnavailableError, EngineError."""

    def stream(self, body: BodyT, served: Served, asked: Asked) -> AsyncIterator[Piece]:
        """Answer in pieces. Raises what `answer` raises, also after the first piece."""
        raise NotImplementedError
