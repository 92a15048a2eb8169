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


def answering(verb: str) -> str:
    """Return which engines answer a verb, with which families of models: `encoder (embedder)`."""
    kinds = {name: engine_class(name) for name in ENGINES}
    able = {
        name: [family for family, verbs in kind.families.items() if verb in verbs]
        for name, kind in kinds.items()
    }
    return ", ".join(f"{name} ({', '.join(families)})" for name, families in able.items() if families)


def engine_class(name: str) -> type[Engine]:
    """Return the class of an engine. Raises ValueError with the names there are."""
    if name not in ENGINES:
        raise ValueError(f"no engine {name!r}; engines: {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    found: type[Engine] = getattr(import_module(module), attribute)
    return found
