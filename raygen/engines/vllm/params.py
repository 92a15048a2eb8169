"""What the vLLM engine tells vLLM: a job's options as engine arguments, a row's sampling as sampling parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from raygen.config.grammar import ascii_digits, guided_schema
from raygen.config.sampling import Sampling
from raygen.errors import EngineConfigError, RowError

if TYPE_CHECKING:
    from raygen.config.constraint import Constraint
    from raygen.models.resolved import ResolvedModel

GIB = 2**30
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
KV_CACHE_GIB_CPU = 4.0  # vLLM itself would take nearly all of the machine's memory


def engine_args(model: ResolvedModel, options: Any, context_tokens: int, *, cpu: bool) -> dict[str, Any]:
    """Return the keyword arguments of vLLM's `AsyncEngineArgs`.

    Args:
        options: of the engine, validated.
        context_tokens: what the model's own config allows.
        cpu: is this a vLLM for CPUs?
    """
    kv_cache_gib = options.kv_cache_gib or (KV_CACHE_GIB_CPU if cpu else None)
    return {
        "model": model.path,
        "served_model_name": model.name,
        "dtype": model.spec.dtype,
        "load_format": "safetensors",
        "use_tqdm_on_load": False,
        "trust_remote_code": False,
        "generation_config": "vllm",  # a model's own sampling settings are not the job's
        "max_model_len": min(context_tokens, options.context_tokens or context_tokens),
        "max_num_seqs": options.max_batch,
        "scheduling_policy": "priority" if options.priorities else "fcfs",
        "tensor_parallel_size": options.tensor_parallel,
        # In this actor's own processes: left to itself, vLLM would look for a Ray cluster to spread over.
        "distributed_executor_backend": "mp" if cpu or options.tensor_parallel > 1 else "uni",
        "gpu_memory_utilization": options.gpu_memory_fraction,
        "kv_cache_memory_bytes": int(kv_cache_gib * GIB) if kv_cache_gib else None,
        "enforce_eager": options.enforce_eager,
        "enable_prefix_caching": True,
        "logprobs_mode": "raw_logprobs",
        # By llguidance, which checked the job's constraints: vLLM would choose a library by what each one says.
        "structured_outputs_config": {"backend": "guidance"},
        "disable_log_stats": True,
    }


def lora_args(adapters: int, rank: int) -> dict[str, Any]:
    """Return what `AsyncEngineArgs` needs besides for so many resident adapters of at most this rank.

    Raises:
        EngineConfigError: vLLM takes no such rank.
    """
    if not adapters:
        return {}
    fitting = [each for each in LORA_RANKS if each >= rank]
    if not fitting:
        raise EngineConfigError(f"an adapter has rank {rank}; vLLM takes at most {LORA_RANKS[-1]}")
    # One place more than adapters: vLLM for CPUs gives a row without one the last place (index -1), which so stays zero.
    return {"enable_lora": True, "max_loras": adapters + 1, "max_lora_rank": fitting[0]}


def structured_outputs(constraint: Constraint) -> dict[str, Any]:
    """Return the keyword arguments of vLLM's `StructuredOutputsParams`: the same grammar as the torch engine's."""
    value = constraint.value
    if constraint.kind == "choice":
        return {"choice": list(value)}
    if constraint.kind == "json_schema":
        return {"json": json.dumps(guided_schema(value))}
    return {constraint.kind: ascii_digits(value) if constraint.kind == "regex" else value}


def sampling_params(
    sampling: Sampling, seed: int, limit: int, end_ids: Iterable[int], vocabulary: int
) -> dict[str, Any]:
    """Return the keyword arguments of vLLM's `SamplingParams` for one sample.

    Args:
        limit: tokens generated at most, as the context leaves them.
        end_ids: tokens that end a text by the model's configs, or as stop strings that are special tokens.
        vocabulary: number of the model's tokens.

    Raises:
        RowError: `invalid_sampling`, a token id outside the vocabulary: vLLM's process would end.
    """
    for name, ids in (("logit_bias", sampling.logit_bias), ("stop_token_ids", sampling.stop_token_ids)):
        wrong = [token for token in ids if token >= vocabulary]
        if wrong:
            raise RowError(
                "invalid_sampling", f"{name}: token {wrong[0]}; the model's tokens are 0 to {vocabulary - 1}"
            )
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logit_bias": dict(sampling.logit_bias) or None,
        "max_tokens": limit,
        "min_tokens": min(sampling.min_tokens, limit),
        "stop": list(sampling.stop),
        "stop_token_ids": sorted({*sampling.stop_token_ids, *(i for i in end_ids if i < vocabulary)}),
        "logprobs": sampling.logprobs,
        "seed": seed,
    }
