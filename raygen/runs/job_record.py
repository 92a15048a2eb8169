"""What a run keeps of the job that it carries out: plain values, so that runs know no jobs, engines or steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raygen.config.source import Source
from raygen.storage.sealed import digest_of


@dataclass(frozen=True)
class JobRecord:
    """A job as its run sees it. Whoever has these values can plan a run.

    Args:
        source: where the rows are.
        identity: what decides the outcomes, as a JSON value.
        dump: the whole job as a JSON value, for people and for `retry` and `verify`.
        attempt_limit_s: seconds after which an attempt at a chunk writes nothing any more.
    """

    name: str
    source: Source
    identity: dict[str, Any]
    dump: dict[str, Any]
    attempt_limit_s: float

    @property
    def config_hash(self) -> str:
        """The short name of the identity, which every outcome carries."""
        return digest_of(self.identity)
