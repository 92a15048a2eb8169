"""Beside: what a sample brought beside its text (reasoning, a refusal's words, tool calls), as people are shown it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {"reasoning": "reasoning", "refusal": "refusal", "tool_calls": "tool calls"}


def beside(sample: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what stands beside the text of a sample, as outcomes hold it: what it is, and its words."""
    return [(name, sample[key]) for key, name in NAMES.items() if sample.get(key) is not None]


def medium(sample: Mapping[str, Any]) -> str:
    """Return what a sample that is no text is, in words: `[image/png, 512 x 512, 388,112 bytes]`."""
    size = f"{sample['width']} x {sample['height']}" if sample.get("width") else None
    seconds = f"{sample['seconds']:.1f} s" if sample.get("seconds") is not None else None
    weight = f"{sample['size_bytes']:,} bytes" if sample.get("size_bytes") is not None else None
    return f"[{', '.join(filter(None, (sample['media_type'] or 'nothing', size, seconds, weight)))}]"
