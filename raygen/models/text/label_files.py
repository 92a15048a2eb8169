"""Label files: the classes of a classifier, as its config.json names them; read without transformers."""

from __future__ import annotations

import json
from pathlib import Path

from raygen.errors import EngineConfigError

USUAL = 2  # classes of a config that does not say, as transformers has it


def read_labels(directory: Path) -> tuple[str, ...]:
    """Return a classifier's labels in their order; those of transformers (`LABEL_0`) if its config names none.

    Raises:
        EngineConfigError: config.json cannot be read, or its `id2label` is none.
    """
    path = directory / "config.json"
    try:
        config = json.loads(path.read_bytes())
        named = config.get("id2label")
        if named is None:
            return tuple(f"LABEL_{number}" for number in range(int(config.get("num_labels") or USUAL)))
        numbered = {int(number): str(name) for number, name in named.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EngineConfigError(f"{path}: the classes cannot be read: {error}") from None
    return tuple(numbered[number] for number in sorted(numbered))
