"""Base model: what a directory's configs say before its weights are read, how these are read, and how a model is saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from raygen.errors import ConfigError, first_line
from raygen.models.text.quantised import check_quantised, in_full
from raygen.train.recipe import Recipe

GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # how such classes' names end
LOCAL: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
MERGED = "merged"  # below an adapter's directory: the base with the adapter merged in
SHARD_SIZE = "2GB"  # of a weights file: stores take whole objects
NO_LIMIT = 10**6  # tokenizers that know no limit say a larger one


def read_config(directory: Path) -> Any:
    """Return the base's transformers config, which lays quantised weights out in full.

    Raises:
        ConfigError: there is none that transformers knows.
        ModelReferenceError: its weights are quantised in a way that cannot be undone.
    """
    try:
        check_quantised(directory, f"base: {directory}")
        return in_full(directory).get("config") or AutoConfig.from_pretrained(directory, **LOCAL)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ConfigError(f"base: transformers does not know {directory}: {first_line(error)}") from None


def read_tokenizer(directory: Path) -> Any:
    """Return the base's tokenizer. Raises ConfigError."""
    try:
        return AutoTokenizer.from_pretrained(directory, **LOCAL)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ConfigError(f"base: {directory} has no tokenizer: {first_line(error)}") from None


def is_generative(config: Any) -> bool:
    """Return whether the base continues text."""
    return not config.is_encoder_decoder and any(
        name.endswith(GENERATIVE) for name in config.architectures or ()
    )


def described(config: Any) -> str:
    """Return what the base is, for messages: `a bert (BertModel)`."""
    names = ", ".join(config.architectures or ()) or "no architecture named"
    return f"a {config.model_type} ({names})"


def check_length(recipe: Recipe, limit: int) -> None:
    """Refuse what the base cannot read. Raises ConfigError: examples may be longer than that."""
    if recipe.batch.unit_cost > limit:
        raise ConfigError(
            f"batch.{recipe.batch.LONGEST}: {recipe.batch.unit_cost}; the base reads at most {limit} tokens"
        )


def check_metric(recipe: Recipe, known: set[str]) -> None:
    """Refuse an unknown metric. Raises ConfigError: no evaluation of this family says it."""
    if recipe.evaluation.metric not in known:
        raise ConfigError(
            f"evaluation.metric: family {recipe.family} has no {recipe.evaluation.metric!r}; allowed: "
            + ", ".join(sorted(known))
        )


def make_empty(auto: Any, config: Any) -> Any:
    """Return a model of this config without memory behind its weights, to look at its layers. Raises ConfigError."""
    try:
        with torch.device("meta"):
            return auto.from_config(config)
    except (ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ConfigError(
            f"base: transformers cannot make {described(config)}: {first_line(error)}"
        ) from None


def read_weights(auto: Any, directory: Path, config: Any, **more: Any) -> tuple[Any, list[str]]:
    """Load a model in float32.

    Returns:
        The model, and the names of weights that the directory has not, or has in another size.

    Raises:
        ConfigError: transformers cannot load it.
    """
    logging.disable_progress_bar()  # one bar a worker would only fill the logs
    load = partial(
        auto.from_pretrained, directory, config=config, dtype=torch.float32, use_safetensors=True,
        output_loading_info=True, **LOCAL, **more,
    )  # fmt: skip
    try:
        try:
            model, report = load(attn_implementation="sdpa")
        except (KeyError, ValueError):  # a model class that brings its own attention only
            model, report = load(attn_implementation="eager")
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ConfigError(
            f"base: cannot load {described(config)} from {directory}: {first_line(error)}"
        ) from None
    other_size = [each[0] for each in report.get("mismatched_keys", ())]
    return model, sorted({*report["missing_keys"], *other_size})


def some(names: list[str]) -> str:
    """Return the first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def save_model(model: Any, tokenizer: Any, directory: Path, *, merge: bool) -> None:
    """Write the model, or its adapter and, with `merge`, the merged model in a folder below."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    if not hasattr(model, "peft_config"):
        model.save_pretrained(directory, max_shard_size=SHARD_SIZE)
        return
    # `auto` would ask the hub whether the vocabulary was changed.
    model.save_pretrained(directory, save_embedding_layers=False)
    (directory / "README.md").unlink(missing_ok=True)  # peft's empty form of a model card
    if merge:
        save_model(model.merge_and_unload(), tokenizer, directory / MERGED, merge=False)
