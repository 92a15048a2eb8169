"""Engines turn requests into results with a loaded model, batching as they see fit.

Contract: requests and results by verb (requests.py), what is known before anything is loaded (facts.py), a loaded model
(base.py). Engines know no job, no run and no Ray.
Start reading: base.py, then echo.py, the smallest engine, and torch/engine.py.

A new engine is a file, and a line here; another package offers its own by an entry point of the group `raygen.engines`, or a
job names it in full, `engine: "package.module:Class"`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from raygen.registry import Registry

if TYPE_CHECKING:
    from raygen.engines.base import Engine
    from raygen.engines.facts import EngineFacts

# Where each engine's facts are.
ENGINES = Registry(
    "engine",
    "raygen.engines",
    {
        "echo": "raygen.engines.echo:EchoEngine",
        "encoder": "raygen.engines.encoder.facts:EncoderFacts",
        "openai": "raygen.engines.openai.facts:OpenAIFacts",
        "torch": "raygen.engines.torch.facts:TorchFacts",
        "vllm": "raygen.engines.vllm.facts:VLLMFacts",
    },
    kind="raygen.engines.facts:EngineFacts",
)


def engine_facts(name: str) -> type[EngineFacts]:
    """Return what is known of an engine, without what it computes with. Raises ValueError with the names there are."""
    facts: type[EngineFacts] = ENGINES.load(name)
    if name not in ENGINES.own and facts.engine is None:
        _check_answers(name, facts)
    return facts


def _check_answers(name: str, engine: type) -> None:
    """Refuse a class that is no engine, or does not do what its facts say. Raises ValueError."""
    from raygen.engines.base import Engine

    if not issubclass(engine, Engine):
        raise ValueError(f"engine {name!r}: neither an Engine nor facts that name one as `engine`")
    if idle := [
        f"`{verb}`" for verb in sorted(engine.verbs) if getattr(engine, verb) is getattr(Engine, verb)
    ]:
        raise ValueError(
            f"engine {name!r}: its families say that it answers {' and '.join(idle)}: it has no such method"
        )


def engine_class(name: str) -> type[Engine]:
    """Return the class of an engine. Raises ValueError: none of that name, or it does not do what its facts say."""
    facts = engine_facts(name)
    if facts.engine is None:
        return facts  # type: ignore[return-value]
    module, _, attribute = facts.engine.partition(":")
    engine: type[Engine] = getattr(import_module(module), attribute)
    if name not in ENGINES.own:
        _check_answers(name, engine)
    return engine


def answering(verb: str) -> str:
    """Return which of raygen's engines answer a verb, with which families of models: `encoder (embedder)`."""
    able = {
        name: [family for family, verbs in engine_facts(name).families.items() if verb in verbs]
        for name in ENGINES.own
    }
    return ", ".join(f"{name} ({', '.join(families)})" for name, families in able.items() if families)
