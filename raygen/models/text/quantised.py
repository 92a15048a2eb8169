"""Quantised weights: kinds that transformers lays out in full when it loads them, and the others, which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raygen.errors import ModelReferenceError

# By what a config calls its `quant_method`. All others compute with kernels of packages of their own.
IN_FULL = ("fp8", "mxfp8", "mxfp4")


def quantisation_of(directory: Path) -> str | None:
    """Return how the weights of a model directory are quantised, by its config.json; None: they are not, or it is not said."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
        found = config.get("quantization_config") or config.get("compression_config")
    except (OSError, ValueError, AttributeError):
        return None
    if not isinstance(found, dict):
        return None
    return str(
        found.get("quant_method") or "bitsandbytes"
    )  # the only one that was ever written without its name


def check_quantised(directory: Path, where: str, remedy: str = "") -> None:
    """Refuse weights that could not be laid out in full.

    Args:
        where: what names the model. remedy: what else can be done.

    Raises:
        ModelReferenceError: in one line.
    """
    method = quantisation_of(directory)
    if method is not None and method not in IN_FULL:
        raise ModelReferenceError(
            f"{where}: its weights are quantised ({method}), and are computed here in full only; use its weights in 16 or "
            f"32 bits{remedy}. Of quantised weights, {', '.join(IN_FULL)} are laid out in full"
        )


def in_full(directory: str | Path) -> dict[str, Any]:
    """Return what `from_pretrained` has to be told so that quantised weights are laid out in full, also on a GPU."""
    if quantisation_of(Path(directory)) is None:
        return {}
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    config.quantization_config["dequantize"] = True
    return {"config": config}
