"""A tenant: who asks, and what its key allows."""

from __future__ import annotations

from dataclasses import dataclass, field

from raygen.serve.config import Limits
from raygen.wire.errors import ApiError

SCOPES = ("inference", "files", "batches", "admin")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who asks.

    Attributes:
        name: whose files, batches and usage they are.
        key_id: of the key that was sent; None: the service needs none.
        scopes: of `SCOPES`. models: names that it may use; None: all.
        own_limits: whether `limits` are the key's own.
    """

    name: str
    key_id: str | None = None
    scopes: frozenset[str] = frozenset(SCOPES)
    models: frozenset[str] | None = None
    limits: Limits = field(default_factory=Limits)
    own_limits: bool = False

    def require(self, scope: str) -> None:
        """Refuse what the key does not allow. Raises ApiError 403."""
        if scope not in self.scopes:
            has = ", ".join(sorted(self.scopes)) or "none"
            raise ApiError(
                403, "insufficient_permissions", f"this key does not have the scope `{scope}`; it has: {has}"
            )

    @property
    def account(self) -> str:
        """Whose limits it shares: those of its tenant, or its own where the key has some."""
        return f"{self.name}/{self.key_id}" if self.own_limits else self.name

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


# On loopback without keys.
DEFAULT = Tenant("default")
