"""Publish: the final model, from memory into the run directory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from raygen.storage import Store
from raygen.train.families.base import Trainer
from raygen.train.families.base_model import MERGED

FOLDER = "model/"


def publish(trainer: Trainer, model: Any, store: Store, temperature: float | None) -> str:
    """Write the model's directory; return the key of the folder that holds a whole model, or an adapter if none does.

    A directory that an earlier attempt left half-written is replaced.
    """
    with tempfile.TemporaryDirectory(prefix="raygen-model-") as folder:
        trainer.save(model, Path(folder), temperature)
        files = {
            FOLDER + path.relative_to(folder).as_posix(): path
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
        for info in list(store.list(FOLDER)):
            if info.key not in files:
                store.delete(info.key)
        for key, path in files.items():
            store.put(key, path.read_bytes())
    whole = FOLDER + MERGED
    return whole if f"{whole}/config.json" in files else FOLDER.rstrip("/")
