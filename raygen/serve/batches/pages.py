"""Pages: a listing cut as `after`, `limit` and `order` say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from raygen.wire.errors import ApiError


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a listing is asked for. `after` is the last id of the page before."""

    limit: int
    last: str | None = None
    oldest_first: bool = False

    @classmethod
    def asked(cls, query: Mapping[str, str], limit: int, most: int) -> Page:
        """Return what a query asks. Raises ApiError."""
        given = query.get("limit")
        if given is not None and not (
            given.isascii() and given.isdigit() and len(given) <= 9 and 0 < int(given) <= most
        ):
            raise ApiError(400, "invalid_value", f"limit: a whole number from 1 to {most}", "limit")
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise ApiError(400, "invalid_value", "order: asc or desc", "order")
        return cls(limit if given is None else int(given), query.get("after"), order == "asc")

    def after(self, ids: Sequence[str]) -> Iterator[str]:
        """Yield the ids that this page begins with, and all that follow. `ids` are sorted: newest first."""
        for name in reversed(ids) if self.oldest_first else ids:
            if self.last is None or (name < self.last if self.oldest_first else name > self.last):
                yield name

    def of(self, items: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Return the page."""
        found = list(islice(items, self.limit + 1))
        data, more = found[: self.limit], len(found) > self.limit
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": more,
        }
