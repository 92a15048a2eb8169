"""Weights: a directory that holds one model, what may be in it, and its digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from raygen.errors import ModelReferenceError
from raygen.models.fetch.own_code import check_code, json_object

# A model's files: what is fetched, what its digest covers. GGUF files become safetensors on arrival.
MODEL_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja")
# Of the modules of a sentence encoder, as sentence-transformers writes them: 1_Pooling/config.json.
MODULE_CONFIG = re.compile(r"\d{1,3}_\w{1,80}/config\.json", re.ASCII)
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
DIGESTS_NAME = "digests.json"
READ_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ResolvedWeights:
    path: Path  # a directory that transformers can load: config.json, safetensors, tokenizer
    digest: str  # `sha256:` and 64 hexadecimal digits, the same wherever the same model came from


@dataclass(frozen=True, slots=True)
class FileDigest:
    size_bytes: int
    modified_ns: int  # nanoseconds since the epoch; with the size it spares reading an unchanged file again
    sha256: str


def is_model_file(name: str) -> bool:
    """Is this name, without a folder, one of a model's files?"""
    return name.endswith(MODEL_SUFFIXES) and not name.startswith(".") and name != DIGESTS_NAME


def is_module_config(path: str) -> bool:
    """Is this path the config of a sentence encoder's module? Nothing else in a folder below is a model's."""
    return MODULE_CONFIG.fullmatch(path) is not None


def check_names(names: Collection[str], where: str) -> None:
    """Refuse a folder without loadable weights, by the names of its files.

    Raises:
        ModelReferenceError: only pickled weights, or none at all.
    """
    if any(name.endswith((".safetensors", ".gguf")) for name in names):
        return
    pickled = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES))
    if pickled:
        raise ModelReferenceError(
            f"{where} has only pickled weights ({pickled[0]}), which may run any code when loaded; "
            "use a revision or a copy with safetensors: save_pretrained() of transformers writes them"
        )
    raise ModelReferenceError(f"{where} has no weights: *.safetensors or *.gguf")


def check_directory(directory: Path, where: str) -> None:
    """Refuse a directory that is no complete model, or needs code that it brings. Runs nothing that is in it.

    Raises:
        ModelReferenceError: in one line, with what to do.
    """
    names = [path.name for path in directory.iterdir() if path.is_file()]
    check_names(names, where)
    if "config.json" not in names and "adapter_config.json" not in names:
        raise ModelReferenceError(
            f"{where} has no config.json; a model directory is one that save_pretrained() wrote"
        )
    check_code(directory, where)
    for index in (name for name in names if name.endswith(".safetensors.index.json")):
        shards = json_object(directory / index, where).get("weight_map", {}).values()
        missing = sorted({shard for shard in shards if shard not in names})
        if missing:
            raise ModelReferenceError(
                f"{where} is incomplete: {index} names {missing[0]}, which is not there"
            )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(directory: Path, known: Mapping[str, FileDigest]) -> dict[str, FileDigest]:
    """Return the digests of a directory's model files; one as large and as old as in `known` is not read."""
    found = {}
    for path in sorted([*directory.iterdir(), *directory.glob("*/config.json")]):
        name = path.relative_to(directory).as_posix()
        if not (is_module_config(name) or (is_model_file(name) and "/" not in name)) or not path.is_file():
            continue
        stat = path.stat()
        before = known.get(name)
        if before is None or (before.size_bytes, before.modified_ns) != (stat.st_size, stat.st_mtime_ns):
            before = FileDigest(stat.st_size, stat.st_mtime_ns, hash_file(path))
        found[name] = before
    return found


def model_digest(files: Mapping[str, FileDigest]) -> str:
    """Return one digest over names and contents."""
    lines = "".join(f"{files[name].sha256}  {name}\n" for name in sorted(files))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
