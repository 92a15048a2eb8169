"""Learnable: which weights a training changes. All of them, those of the top layers, or a LoRA adapter's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from raygen.errors import ConfigError
from raygen.train.recipe import Lora, Trained

# Settings of a transformers config that are dropout: hidden_dropout_prob, attention_dropout, resid_pdrop, ...
DROPOUT = re.compile(r"(^|_)(dropout(_prob|_rate)?|pdrop)$|^(classifier|summary_last|summary_first)_dropout$")
EMBEDDING = re.compile(r"embed|(^|\.)(wte|wpe)\.")
LINEAR = (nn.Linear, Conv1D)  # GPT-2's Conv1D is a linear layer, transposed


def make_learnable(model: Any, trained: Trained, *, seed: int, new_head: Sequence[str] = ()) -> Any:
    """Freeze what is not learnt; with `lora`, return the model wrapped by peft.

    Args:
        seed: of an adapter's first weights.
        new_head: names of modules without pretrained weights, which are learnt whatever else is.

    Raises:
        ConfigError: the model has fewer layers, or no linear layers of these names.
    """
    if trained.lora is not None:
        return _with_lora(model, trained.lora, seed, new_head)
    if trained.top_layers is not None:
        _freeze_below(model, trained.top_layers, new_head)
    return model


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are learnt, by name; each once, also where two modules share it."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def count_trainable(model: nn.Module) -> tuple[int, int]:
    """Return how many numbers are learnt, and of how many."""
    return sum(p.numel() for p in trainable(model).values()), sum(p.numel() for p in model.parameters())


def find_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the model's stack of layers and its name: the list of alike modules that holds the most weights.

    Raises:
        ConfigError: there is none.
    """
    lists = [
        (sum(p.numel() for p in module.parameters()), name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len({type(each) for each in module}) == 1
    ]
    if not lists:
        raise ConfigError("trained: the base has no list of layers; train all of it")
    _, name, found = max(lists, key=lambda each: each[0])
    return name, found


def set_dropout(config: Any, dropout: float) -> None:
    """Set every dropout of a transformers config, before the model is made. Raises ConfigError: it has none."""
    names = [
        name
        for name, value in vars(config).items()
        if DROPOUT.search(name) and (value is None or isinstance(value, int | float))
    ]
    if not names:
        raise ConfigError(f"dropout: a base of type {config.model_type} has none; leave it out")
    for name in names:
        setattr(config, name, dropout)


def _freeze_below(model: Any, top_layers: int, new_head: Sequence[str]) -> None:
    """Learn the last layers and what comes after them: norms, pooler, head. Embeddings only if the head shares them."""
    name, layers = find_layers(model)
    if top_layers > len(layers):
        raise ConfigError(f"trained.top_layers: {top_layers}; the base has {len(layers)} layers")
    frozen_layers = tuple(f"{name}.{number}." for number in range(len(layers) - top_layers))
    output = model.get_output_embeddings()
    head = {id(weight) for weight in output.parameters()} if output is not None else set()
    for weight_name, weight in model.named_parameters():
        above = weight_name.startswith(f"{name}.") or not EMBEDDING.search(weight_name)
        learnt = (above and not weight_name.startswith(frozen_layers)) or id(weight) in head
        weight.requires_grad_(learnt or weight_name.startswith(tuple(f"{each}." for each in new_head)))


def _with_lora(model: Any, lora: Lora, seed: int, new_head: Sequence[str]) -> Any:
    import peft

    targets = lora_targets(model, lora.targets)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft divides it by the rank, and JSON keeps it
        lora_dropout=lora.dropout,
        target_modules=targets,
        modules_to_save=list(new_head) or None,
        fan_in_fan_out=any(isinstance(model.get_submodule(each), Conv1D) for each in targets),
    )
    torch.manual_seed(seed)
    return peft.get_peft_model(model, config)


def lora_targets(model: nn.Module, wanted: Sequence[str] = ()) -> list[str]:
    """Return the full names of the linear layers that get an adapter: those named, or all within the stack of layers.

    Raises:
        ConfigError: a name is none of a linear layer; says which there are.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, LINEAR)]
    stack, _ = find_layers(model)
    inside = [name for name in linear if name.startswith(f"{stack}.")]
    if not wanted:
        return inside
    for name in wanted:
        if not any(each == name or each.endswith(f".{name}") for each in linear):
            known = ", ".join(sorted({each.rpartition(".")[2] for each in inside}))
            raise ConfigError(f"trained.lora.targets: the base has no linear layer {name!r}; it has {known}")
    return [each for each in linear if any(each == name or each.endswith(f".{name}") for name in wanted)]
