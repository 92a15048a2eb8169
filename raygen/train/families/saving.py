"""Saving: a trained model as a directory that transformers, peft and raygen read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MERGED = "merged"  # below an adapter's directory: the base with the adapter merged in
SHARD_SIZE = "2GB"  # of a weights file: stores take whole objects


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
