"""Code of a model's own: it is never run. A model that brings some is taken if transformers has the same classes itself."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from raygen.errors import ModelReferenceError

log = logging.getLogger(__name__)

FILES = ("config.json", "tokenizer_config.json")


def check_code(directory: Path, where: str) -> None:
    """Look at what a model directory brings as code (`auto_map`). Nothing of it is imported or run.

    Raises:
        ModelReferenceError: transformers has no class of that name of its own, or a file is no JSON object.
    """
    configs = {name: json_object(directory / name, where) for name in FILES if (directory / name).is_file()}
    coded = [name for name, config in configs.items() if config.get("auto_map")]
    for name in coded:
        unknown = _unknown_tokenizer(configs[name]) if name == FILES[1] else _unknown_model(configs[name])
        if unknown is not None:
            raise ModelReferenceError(
                f"{where} brings code of its own (`auto_map` in {name}), which raygen never runs, and transformers has no "
                f"{unknown} itself; use a model that transformers itself knows"
            )
    if coded:
        log.warning(
            f"{where} brings code of its own, which is not run: transformers' own classes of the same names are used"
        )


def _unknown_model(config: dict[str, Any]) -> str | None:
    """Return what transformers does not know of a model."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        return f"model type {kind!r}"
    known = set(dir(transformers))  # by name: to look at a class would import it
    return next((f"class {name}" for name in config.get("architectures") or () if name not in known), None)


def _unknown_tokenizer(config: dict[str, Any]) -> str | None:
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    name = config.get("tokenizer_class")
    if name and tokenizer_class_from_name(name) is not None:
        return None
    return f"tokenizer class {name!r}"


def json_object(path: Path, where: str) -> dict[str, Any]:
    """Read a file of a model directory. Raises ModelReferenceError: it is no JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelReferenceError(f"{where}: {path.name} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ModelReferenceError(f"{where}: {path.name} holds no JSON object")
    return value
