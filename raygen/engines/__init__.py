"""Engines turn requests into results with a loaded model. One file an engine; a new one is a file and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raygen.engines.base import Engine

ENGINES = {
    "echo": "raygen.engines.echo:EchoEngine",
    "encoder": "raygen.engines.encoder.engine:EncoderEngine",
    "openai": "raygen.engines.openai.engine:OpenAIEngine",
    "torch": "raygen.engines.torch.engine:TorchEngine",
    "vllm": "raygen.engines.vllm.engine:VLLMEngine",
}


def engine_class(name: str) -> type[Engine]:
    """Return the class of an engine. Raises ValueError with the names there are."""
    if name not in ENGINES:
        raise ValueError(f"no engine {name!r}; engines: {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    found: type[Engine] = getattr(import_module(module), attribute)
    return found
