"""An engine that speaks: a sound that is nothing but the text and the seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from raygen.engines.echo import EchoEngine
from raygen.engines.requests import MediaSample, SpeakRequest, SpeakResult


class Speaker(EchoEngine):
    """Says every text in one second."""

    families: ClassVar[Mapping[str, frozenset[str]]] = {"causal_lm": frozenset({"speak"})}

    async def speak(self, request: SpeakRequest) -> SpeakResult:
        samples = [
            MediaSample(f"{request.text} {seed}".encode(), "audio/mpeg", seconds=1.0)
            for seed in request.seeds
        ]
        return SpeakResult(samples)
