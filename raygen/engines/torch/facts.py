"""Facts of the torch engine: how much memory, how many samples at once, on which device."""

from __future__ import annotations

from pydantic import Field

from raygen.engines.facts import EngineFacts
from raygen.engines.templated import TEMPLATE_OPTIONS, TemplateOptions

PIECE = 256  # a prompt is cut at multiples of it


class TorchFacts(EngineFacts):
    """Causal LMs, by transformers' own model classes."""

    engine = "raygen.engines.torch.engine:TorchEngine"
    families = {"causal_lm": frozenset({"generate", "likelihood"})}
    takes_adapters = True
    loads_adapters = True
    takes_raw_prompts = True
    tells_prompt_logprobs = True
    takes_tools = True
    takes_constraints = True
    shares_steps = True
    orders_by_priority = True
    fills_cores = True
    templated = True
    deciding_options = frozenset({"context_tokens"}) | TEMPLATE_OPTIONS

    class Options(TemplateOptions):
        """What a job may say under `options` of a model on the torch engine."""

        threads: int | None = Field(
            None, ge=1, le=1024, description="CPU threads; one for each core if unset"
        )
        max_batch: int = Field(256, ge=1, le=4096, description="samples generated at once")
        prompt_tokens_per_step: int = Field(
            512, ge=PIECE, le=65536, description="of prompts, computed beside the running samples' tokens"
        )
        kv_cache_gib: float | None = Field(
            None,
            gt=0,
            description="memory for keys and values; unset: up to 4 on a CPU, four fifths of what is free on a GPU",
        )
        prefix_share: float = Field(
            0.125, ge=0, le=0.5, description="part of that memory for beginnings of prompts, kept for reuse"
        )
        context_tokens: int | None = Field(
            None,
            ge=2,
            description="prompt and output together; the model's own limit if that is less or this unset",
        )
        max_adapters: int = Field(
            16, ge=1, le=1024, description="adapters held at once, when some are loaded while it runs"
        )
        device: str = Field(
            "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: cuda if there is one"
        )
