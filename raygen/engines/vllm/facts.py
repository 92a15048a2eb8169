"""Facts of the vLLM engine: how many samples at once, on how many GPUs, in how much memory."""

from __future__ import annotations

from pydantic import Field

from raygen.engines.facts import EngineFacts
from raygen.engines.templated import TEMPLATE_OPTIONS, TemplateOptions


class VLLMFacts(EngineFacts):
    """Causal LMs by vLLM, on GPU nodes."""

    engine = "raygen.engines.vllm.engine:VLLMEngine"
    takes_adapters = True
    takes_raw_prompts = True
    takes_tools = True
    fills_cores = True
    takes_constraints = True
    # Its kernels may round differently in another batch.
    replayable = False
    takes_quantised = True
    templated = True
    deciding_options = frozenset({"context_tokens"}) | TEMPLATE_OPTIONS

    class Options(TemplateOptions):
        """What a job may say under `options` of a model on the vLLM engine."""

        max_batch: int = Field(256, ge=1, le=8192, description="samples generated at once")
        context_tokens: int | None = Field(
            None,
            ge=2,
            description="prompt and output together; the model's own limit if that is less or this unset",
        )
        tensor_parallel: int = Field(
            1, ge=1, le=64, description="GPUs that share one copy of the model: as many as gpus_per_replica"
        )
        gpu_memory_fraction: float = Field(
            0.9, gt=0, le=1, description="of each GPU, for weights, keys and values together"
        )
        kv_cache_gib: float | None = Field(
            None,
            gt=0,
            description="memory for keys and values; unset: what gpu_memory_fraction leaves, on a CPU 4",
        )
        priorities: bool = Field(
            False,
            description="people before batches, by vLLM's scheduling policy `priority`, which frees no slot for them; else "
            "first come, first served",
        )
        enforce_eager: bool = Field(False, description="do not compile the model: starts sooner, runs slower")
