"""Head: the layer of a classifier whose outputs are the logits."""

from __future__ import annotations

from typing import Any

from torch import nn

from raygen.errors import ConfigError
from raygen.train.families.base_model import described


def final_layer(model: Any) -> nn.Linear:
    """Return the linear layer whose outputs are the logits. Raises ConfigError: there is none."""
    layers = final_layers(model)
    if not layers:
        raise ConfigError(f"base: the head of {described(model.config)} is of a kind that is not known")
    return layers[-1]


def final_layers(model: Any) -> list[nn.Linear]:
    """Return the layers of the head. An adapter's model has it twice: as it was, and as it is learnt."""
    labels, inside = model.config.num_labels, f"{model.base_model_prefix}."
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == labels and not name.startswith(inside)
    ]
    if not found:
        return []
    last = found[-1][0].split(".original_module")[0].split(".modules_to_save")[0]
    return [module for name, module in found if name.startswith(last)]


def name_of(model: nn.Module, wanted: nn.Module) -> str:
    """Return the name of a module within its model."""
    name: str = next(name for name, module in model.named_modules() if module is wanted)
    return name
