"""The causal LM family: a transformers model that continues text, and what it computes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from raygen.errors import EngineConfigError, EngineError, first_line
from raygen.models.text.chat_template import AS_IT_IS, TemplateRules
from raygen.models.text.chat_tokenizer import ChatTokenizer, context_of, eos_ids_of
from raygen.models.text.quantised import in_full


@dataclass(slots=True)
class CausalLM(ChatTokenizer):
    model: Any  # a transformers PreTrainedModel in evaluation mode


def load_causal_lm(
    path: str, dtype: str, device: str, attention: str, rules: TemplateRules = AS_IT_IS
) -> CausalLM:
    """Load a model directory.

    Args:
        path: config.json, safetensors and tokenizer; nothing in it is ever run.
        dtype: `bfloat16`, `float16` or `float32`: of the weights, and of the computation unless `compute_dtype` says float32.
        device: a torch device.
        attention: name of a registered transformers attention function.
        rules: of its chat template.

    Raises:
        EngineConfigError: weights are missing.
        EngineError: transformers cannot load it.
    """
    logging.disable_progress_bar()  # one bar an actor would only fill the logs
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            **in_full(path),
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EngineError(f"cannot load a causal LM from {path}: {first_line(error)}") from error
    if missing := sorted(report["missing_keys"]):
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise EngineConfigError(f"{path} is no whole language model: it has no weights for {some}")
    model.to(device, getattr(torch, compute_dtype(dtype, device))).eval()
    eos_ids = eos_ids_of(model.generation_config, model.config, tokenizer)
    # A few models read tokens that they never write: a text's likelihood, and penalties, are about what is written.
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    rows = min(end.weight.shape[0] for end in ends if end is not None)
    return CausalLM(tokenizer, eos_ids, context_of(model.config), model, rows=rows, rules=rules)


def compute_dtype(dtype: str, device: str) -> str:
    """Return what a device computes in.

    On an x86 CPU that gains nothing from 16 bits it is float32, with the same weights. Without instructions for them they
    take five times longer. And AVX512-BF16 multiplies no faster than float32 on Intel's CPUs, and half as fast with what
    surrounds it; only AMX does. AMD's multiply twice as fast.
    """
    if device != "cpu" or dtype == "float32":
        return dtype
    return dtype if pays_off(dtype, torch.cpu.get_capabilities()) else "float32"


def pays_off(dtype: str, cpu: Mapping[str, Any]) -> bool:
    """Is a CPU of these capabilities (torch's names) faster in 16 bits than in 32?"""
    if cpu.get("architecture") != "x86_64":
        return True
    if dtype == "float16":
        return bool(cpu.get("avx512_fp16") or cpu.get("amx_fp16"))
    vector = cpu.get("avx512_bf16") and "intel" not in str(cpu.get("cpu_name", "")).lower()
    return bool(vector or cpu.get("amx_bf16"))
