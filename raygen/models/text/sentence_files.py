"""Sentence files: what a sentence encoder's own directory says of its vectors, as sentence-transformers writes it.

`modules.json` names the parts in order, `1_Pooling/config.json` how a text's token vectors become one, and
`sentence_bert_config.json` how many tokens a text may have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from raygen.errors import EngineConfigError
from raygen.models.fetch.weights import is_module_config

Pooling = Literal["mean", "cls", "lasttoken"]  # how a text's token vectors become one
POOLINGS: tuple[str, ...] = get_args(Pooling)
LEGACY = "pooling_mode_"  # until version 5 of sentence-transformers: a switch for each way
LEGACY_NAMES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
IDLE_MODULES = ("Dropout",)  # they do nothing outside training


@dataclass(slots=True, frozen=True)
class SentenceFiles:
    pooling: Pooling = "mean"
    normalize: bool = False
    max_tokens: int | None = None
    lower_case: bool = False


def read_sentence_files(directory: Path, pooling: Pooling | None) -> SentenceFiles:
    """Return what a model's directory says; the defaults if it says nothing.

    Args:
        pooling: the job's own word, which wins over the directory's.

    Raises:
        EngineConfigError: it has parts, or a pooling, that raygen does not know; a file is missing or broken.
    """
    normalize = False
    found: Pooling = "mean"
    for module in _modules(directory / "modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            found = _pooling(directory, str(module.get("path", ""))) if pooling is None else pooling
        elif kind == "Normalize":
            normalize = True
        elif kind not in ("Transformer", *IDLE_MODULES):
            raise EngineConfigError(
                f"{directory}: modules.json has a module {kind!r}; known: Transformer, Pooling, Normalize"
            )
    said = _settings(directory)
    max_tokens = said.get("max_seq_length")
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise EngineConfigError(f"{directory}: its sentence config has max_seq_length {max_tokens!r}")
    return SentenceFiles(pooling or found, normalize, max_tokens, bool(said.get("do_lower_case")))


def _settings(directory: Path) -> dict[str, Any]:
    """Return sentence_bert_config.json, whose name says the model's kind; {} if there is none."""
    path = next(iter(sorted(directory.glob("sentence_*_config.json"))), None)
    return _object(path) if path is not None else {}


def _modules(path: Path) -> list[dict[str, Any]]:
    modules = _read(path) if path.is_file() else []
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise EngineConfigError(f"{path}: it holds no list of modules")
    return modules


def _pooling(directory: Path, folder: str) -> Pooling:
    name = f"{folder}/config.json"
    if not is_module_config(name) or not (directory / name).is_file():
        raise EngineConfigError(
            f"{directory}: modules.json names a pooling in {folder!r}, which has no config.json; copy that folder too, "
            f"or set the option `pooling`: {', '.join(POOLINGS)}"
        )
    config = _object(directory / name)
    modes = config.get("pooling_mode")
    if modes is None:
        switches = [key.removeprefix(LEGACY) for key, on in config.items() if key.startswith(LEGACY) and on]
        modes = [LEGACY_NAMES.get(switch, switch) for switch in switches] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise EngineConfigError(
            f"{directory}: {name} asks for pooling {' and '.join(map(str, modes))}; known: one of {', '.join(POOLINGS)}"
        )
    found: Pooling = modes[0]
    return found


def _object(path: Path) -> dict[str, Any]:
    value = _read(path)
    if not isinstance(value, dict):
        raise EngineConfigError(f"{path}: it holds no JSON object")
    return value


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EngineConfigError(f"{path} cannot be read: {error}") from None
