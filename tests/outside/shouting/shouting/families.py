"""A family of models of another package, which its engine loads."""

from __future__ import annotations

from raygen import Family


class Shouter(Family):
    """Models that shout."""

    verbs = frozenset({"generate"})
    engines = ("shout",)
