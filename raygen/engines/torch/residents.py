"""Residents: a model's LoRA adapters by name, loaded and dropped while requests run, and who uses each. Plain Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from raygen.errors import RowError
from raygen.models.resolved import ResolvedAdapter


@dataclass(slots=True)
class Resident:
    """One adapter.

    Attributes:
        key: what the bank and kept prefixes know it by; never used again for another one, also of the same name.
        users: requests under way that use it.
        dropped: nobody new may use it.
    """

    key: str
    adapter: ResolvedAdapter
    users: int = 0
    dropped: bool = False


class Residents:
    """The event loop's side of adapters. What nobody uses any more is in `leaving`, for the worker thread to take out.

    Args:
        most: adapters held at once.
    """

    def __init__(self, configured: Mapping[str, ResolvedAdapter], most: int) -> None:
        self._known = {name: Resident(name, adapter) for name, adapter in configured.items()}
        self._most = max(most, len(configured))
        self._held = len(configured)  # also those that are dropped and still used
        self._loads = 0
        self.leaving: deque[str] = deque()  # keys

    @property
    def adapters(self) -> Mapping[str, ResolvedAdapter]:
        return {name: each.adapter for name, each in self._known.items()}

    def place(self, name: str, adapter: ResolvedAdapter) -> str | None:
        """Return the key for a new adapter; None: this very one is there already.

        Raises:
            RowError: `adapter_exists`, another one has the name; `too_many_adapters`.
        """
        known = self._known.get(name)
        if known is not None and known.adapter.digest == adapter.digest:
            return None
        if known is not None:
            raise RowError("adapter_exists", f"another adapter is called {name!r}: drop that one first")
        if self._held >= self._most:
            raise RowError(
                "too_many_adapters",
                f"{self._held} adapters are held, which is the most (options.max_adapters); drop one first",
            )
        self._loads += 1
        return f"{name}\x00{self._loads}"

    def add(self, name: str, key: str, adapter: ResolvedAdapter) -> None:
        """Let requests use what the bank now holds under this key."""
        self._known[name] = Resident(key, adapter)
        self._held += 1

    def drop(self, name: str) -> None:
        """Let no new request use an adapter that there is; it leaves when nobody does."""
        resident = self._known.pop(name)
        resident.dropped = True
        self._let_go(resident)

    @contextmanager
    def using(self, name: str | None) -> Iterator[str | None]:
        """Hold an adapter that there is for one request; gives its key."""
        if name is None:
            yield None
            return
        resident = self._known[name]
        resident.users += 1
        try:
            yield resident.key
        finally:
            resident.users -= 1
            self._let_go(resident)

    def _let_go(self, resident: Resident) -> None:
        if resident.dropped and not resident.users:
            self._held -= 1
            self.leaving.append(resident.key)
