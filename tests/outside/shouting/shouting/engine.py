"""An engine of another package: it says what it is told, in capitals."""

from __future__ import annotations

from raygen import Engine, GeneratedSample, GenerateRequest, GenerateResult


class ShoutEngine(Engine):
    """Answers every prompt with itself in capitals, and as many exclamation marks as the sample's place."""

    families = {"causal_lm": frozenset({"generate"}), "shouter": frozenset({"generate"})}
    needs_ref = False
    has_weights = False
    units = frozenset({"marks"})

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        said = str(request.messages[-1]["content"]).upper()
        samples = [
            GeneratedSample(said + "!" * n, "stop", len(said.split()), units={"marks": n})
            for n in range(len(request.seeds))
        ]
        return GenerateResult(samples, len(said.split()))
