"""The causal LM family: a transformers model that continues text, and what it computes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from raygen.errors import EngineError
from raygen.models.chat_tokenizer import ChatTokenizer, context_of, eos_ids_of
from raygen.models.messages import first_line


@dataclass(slots=True)
class CausalLM(ChatTokenizer):
    model: Any  # a transformers PreTrainedModel in evaluation mode


def load_causal_lm(path: str, dtype: str, device: str, attention: str) -> CausalLM:
    """Load a model directory.

    Args:
        path: config.json, safetensors and tokenizer; nothing in it is ever run.
        dtype: `bfloat16`, `float16` or `float32`: of the weights, and of the computation unless `compute_dtype` says float32.
        device: a torch device.
        attention: name of a registered transformers attention function.

    Raises:
        EngineError: transformers cannot load it.
    """
    logging.disable_progress_bar()  # one bar an actor would only fill the logs
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EngineError(f"cannot load a causal LM from {path}: {first_line(error)}") from error
    model.to(device, getattr(torch, compute_dtype(dtype, device))).eval()
    eos_ids = eos_ids_of(model.generation_config, model.config, tokenizer)
    return CausalLM(tokenizer, eos_ids, context_of(model.config), model)


def compute_dtype(dtype: str, device: str) -> str:
    """Return what a device computes in.

    An x86 CPU without instructions for 16 bits takes five times longer for them: there it is float32.
    """
    if device != "cpu" or dtype == "float32":
        return dtype
    known = torch.cpu.get_capabilities()
    needed = ("avx512_bf16", "amx_bf16") if dtype == "bfloat16" else ("avx512_fp16", "amx_fp16")
    if known.get("architecture") == "x86_64" and not any(known.get(name) for name in needed):
        return "float32"
    return dtype
