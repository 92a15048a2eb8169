"""LoRA: low-rank changes to a model's linear layers, from a directory as PEFT's save_pretrained() writes it."""

# Shape letters: R = rank, I = inputs of a layer, O = its outputs.

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from raygen.errors import EngineConfigError, first_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# Settings that would change what is computed; all of them are refused unless they are empty or false.
UNKNOWN_SETTINGS = (
    *("use_dora", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern", "layer_replication"),
    *(
        "use_qalora",
        "alora_invocation_tokens",
        "trainable_token_indices",
        "target_parameters",
        "arrow_config",
    ),
)


@dataclass(slots=True)
class LoraLayer:
    """What is added to a layer's output: `scale * B @ A @ input`."""

    a_RI: torch.Tensor
    b_OR: torch.Tensor
    scale: float


Lora = dict[str, LoraLayer]  # by the layer's name in the model


def load_lora(path: str) -> Lora:
    """Read an adapter. Raises EngineConfigError: it is no plain LoRA, or its files are broken."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(path)
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise EngineConfigError(f"cannot read a LoRA adapter from {path}: {first_line(error)}") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise EngineConfigError(
            f"{path}: {CONFIG} has no peft_type LORA; other kinds of adapters are not known"
        )
    odd = [name for name in UNKNOWN_SETTINGS if config.get(name)]
    odd += ["bias"] if config.get("bias", "none") != "none" else []
    if odd:
        raise EngineConfigError(f"{path}: {CONFIG} sets {', '.join(odd)}, which raygen does not know")
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, part = key.removeprefix(PREFIX).partition(".lora_")
        if part not in ("A.weight", "B.weight") or not key.startswith(PREFIX) or tensor.dim() != 2:
            raise EngineConfigError(f"{path}: {WEIGHTS} holds {key!r}, which is no part of a plain LoRA")
        found.setdefault(name, {})[part[0]] = tensor
    return {name: _layer(name, parts, config, path) for name, parts in sorted(found.items())}


def _layer(name: str, parts: dict[str, torch.Tensor], config: dict[str, Any], path: str) -> LoraLayer:
    a_RI, b_OR, alpha = parts.get("A"), parts.get("B"), config.get("lora_alpha")
    if a_RI is None or b_OR is None or a_RI.shape[0] != b_OR.shape[1]:
        raise EngineConfigError(f"{path}: {WEIGHTS} has no matching A and B for {name}")
    if not isinstance(alpha, int | float):
        raise EngineConfigError(f"{path}: {CONFIG} has lora_alpha {alpha!r}, not a number")
    if not (a_RI.isfinite().all() and b_OR.isfinite().all()):
        raise EngineConfigError(f"{path}: {WEIGHTS} holds numbers for {name} that are not finite")
    rank = a_RI.shape[0]
    return LoraLayer(a_RI, b_OR, alpha / (rank**0.5 if config.get("use_rslora") else rank))
