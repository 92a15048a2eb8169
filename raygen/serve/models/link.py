"""The link: the way to one model of a service, wherever it is loaded.

Whoever answers requests knows links alone. In one process a link holds the replica itself (local.py); on Ray Serve it is a
deployment's handle (cluster/). One test suite runs over both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from raygen.engines.base import Engine
from raygen.models.resolved import ResolvedModel

if TYPE_CHECKING:
    import pyarrow as pa

    from raygen.program.host import ChunkResult
    from raygen.program.job import Job


@dataclass(frozen=True, slots=True)
class Figures:
    """How a model stands, at this moment.

    Attributes:
        state: `cold` has no replica, `loading` has none that is ready yet.
        replicas: ready ones. wanted: what it is scaled to.
        running: requests (or samples) under way, by whoever is waiting for them. waiting: held back.
        batch_rows: rows of batches under way.
        totals: counters since the start, such as usage by unit and the engine's own figures.
    """

    state: Literal["cold", "loading", "ready", "broken"]
    replicas: int = 0
    wanted: int = 0
    running: float = 0
    waiting: float = 0
    batch_rows: float = 0
    totals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """What a replica has to know to work on chunks of one batch: small, and the same for all its chunks.

    Attributes:
        run: names the batch's run: a replica keeps one host of its program for it while chunks come.
        job: with the one step `answer`.
        models: the job's, resolved.
        config_hash: of the plan, for the lineage. columns: kept ones with their types.
    """

    run: str
    job: Job
    models: Mapping[str, ResolvedModel]
    config_hash: str
    kept: Mapping[str, pa.DataType]


class Link(ABC):
    """The way to one model.

    Attributes:
        engine: answers verbs as a loaded engine does, from many tasks of one event loop. Its errors are those of engines
            (RowError, EngineError) and UnavailableError: BusyError, ModelLoadingError, ReplicaLostError. A stream of a replayable
            engine whose replica dies goes on, word for word, on another one.
    """

    engine: Engine

    def __init__(self, name: str, model: ResolvedModel) -> None:
        self.name, self.model = name, model

    @abstractmethod
    async def start(self) -> None:
        """Make ready. Raises EngineError."""

    @abstractmethod
    async def figures(self) -> Figures:
        """Return how it stands; never waits for a model to load."""

    @abstractmethod
    async def run_chunk(self, work: ChunkWork, rows: pa.Table) -> ChunkResult:
        """Turn a batch's chunk into outcomes, whole, behind whoever is waiting for an answer.

        Raises:
            UnavailableError: nothing was done of it; the chunk may be sent again. EngineError: the model is broken.
        """

    @abstractmethod
    async def end_run(self, run: str, status: str) -> None:
        """Begin no more rows of a batch that is over: those that no engine has begun fail as unasked, the others end.

        Args:
            run: as its chunks name it. status: how the batch ended: cancelled or expired.
        """

    @abstractmethod
    async def load_adapter(self, name: str, ref: str) -> None:
        """Make an adapter known to all replicas, now and when they start. Raises RowError, UserError."""

    @abstractmethod
    async def drop_adapter(self, name: str) -> None:
        """Forget an adapter once nobody uses it. Raises RowError `unknown_adapter`."""

    @property
    @abstractmethod
    def adapters(self) -> Mapping[str, str]:
        """Adapters by name, with their references."""

    @abstractmethod
    async def close(self, grace_s: float) -> None:
        """End: let answers under way end for this long."""
