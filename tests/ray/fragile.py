"""An echo engine that breaks on request; jobs name it in full, as they would another package's."""

from __future__ import annotations

import os
from typing import Any, Literal

from raygen.engines.echo import EchoEngine
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.errors import EngineError

FRAGILE = "tests.ray.fragile:FragileEngine"


class FragileEngine(EchoEngine):
    """Breaks at its start, or at the row `at`. Its texts are the echo engine's."""

    class Options(EchoEngine.Options):
        fails: Literal["never", "start", "generate", "start_exits", "generate_exits"] = "never"
        at: str = "p37"

    async def start(self) -> None:
        await super().start()
        if self.options.fails == "start":
            raise EngineError("the accelerator\nis not there")
        if self.options.fails == "start_exits":
            os._exit(9)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        if request.row_id == self.options.at:
            if self.options.fails == "generate":
                raise EngineError("the accelerator fell off the bus")
            if self.options.fails == "generate_exits":
                os._exit(9)
        return await super().generate(request)


def fragile_model(**options: Any) -> dict[str, Any]:
    return {"writer": {"family": "causal_lm", "engine": FRAGILE, "options": options}}
