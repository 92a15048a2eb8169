"""Beside: what a sample brought beside its text (reasoning, a refusal's words, tool calls), as people are shown it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {"reasoning": "reasoning", "refusal": "refusal", "tool_calls": "tool calls"}


def beside(sample: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what stands beside the text of a sample, as outcomes hold it: what it is, and its words."""
    return [(name, sample[key]) for key, name in NAMES.items() if sample.get(key) is not None]
