"""Places: the cache of models, the folder of temporary files, a store, and the environment variables that matter, by name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from raygen.doctor.finding import Finding, size
from raygen.errors import EngineConfigError, RaygenError

LEAST_DISK_BYTES = 5 * 2**30  # a small model, fetched and converted
LEAST_DISK_SHARE = 0.05  # below it Ray refuses to write objects to disk
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
SETTINGS = (
    *("RAYGEN_CACHE", "RAYGEN_DEBUG", "RAY_ADDRESS", "RAY_TMPDIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
    *(
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_CA_BUNDLE",
        "SSL_CERT_FILE",
    ),
    *("HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
)


def check_cache(folder: Path | None = None) -> list[Finding]:
    """Look at the cache of models: its size, the room beside it, and whether it can be written.

    Args:
        folder: None: the one that runs use.
    """
    if folder is None:
        from raygen.models.fetch.cache import ModelCache

        folder = ModelCache().root
    there = existing(folder)
    used, free = _size_of(folder), shutil.disk_usage(there).free
    facts = {"path": str(folder), "used_bytes": used, "free_bytes": free}
    value = f"{folder}: {size(used)} used, {size(free)} free"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        remedy = f"{there} cannot be written: change its owner, or set RAYGEN_CACHE to another directory"
        return [Finding("model cache", "error", value, remedy, facts)]
    if free < LEAST_DISK_BYTES:
        remedy = "Remove models that are not used (raygen models list), or set RAYGEN_CACHE to a larger disk"
        return [Finding("model cache", "warning", value, remedy, facts)]
    return [Finding("model cache", "ok", value, facts=facts)]


def check_temporary_files(folder: Path | None = None) -> list[Finding]:
    """Is there room where Ray writes objects that do not fit into memory?

    Args:
        folder: None: Ray's.
    """
    folder = folder or Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    usage = shutil.disk_usage(existing(folder))
    facts = {"path": str(folder), "free_bytes": usage.free, "total_bytes": usage.total}
    value = f"{folder}: {size(usage.free)} free"
    if usage.free < LEAST_DISK_SHARE * usage.total:
        remedy = (
            f"Ray writes nothing to a disk that is more than {1 - LEAST_DISK_SHARE:.0%} full: "
            "make room, or set RAY_TMPDIR to another disk"
        )
        return [Finding("temporary files", "warning", value, remedy, facts)]
    return [Finding("temporary files", "ok", value, facts=facts)]


def check_store(uri: str) -> list[Finding]:
    """Write, read and remove a small object in the store of a run, and see whether it keeps the first of two writers.

    In a directory that is not there yet, the nearest one above it is tried.
    """
    from raygen.storage import LocalStore, open_store

    facts: dict[str, object] = {"uri": uri, "writable": False, "conditional_writes": False}
    try:
        store = open_store(uri)
        if isinstance(store, LocalStore):
            store = LocalStore(existing(store.root))
        conditional = store.has_conditional_put()
    except RaygenError as error:
        return [Finding("store", "error", f"{uri}: {' '.join(str(error).split())}", facts=facts)]
    facts |= {"writable": True, "conditional_writes": conditional}
    if conditional:
        return [Finding("store", "ok", f"{uri}: can be written, has conditional writes", facts=facts)]
    remedy = (
        "Runs work with a single committer: never start two at once on one directory. "
        "For more, take a store that knows If-None-Match"
    )
    return [Finding("store", "warning", f"{uri}: can be written, has no conditional writes", remedy, facts)]


def check_environment(environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Name the variables that change how raygen works; never their values, which may hold secrets."""
    from raygen.engines.openai.proxy import proxy_of

    environ = os.environ if environ is None else environ
    proxies = [name for upper in PROXIES for name in (upper, upper.lower()) if environ.get(name)]
    value = ", ".join(proxies) or "none set"
    finding = Finding("proxies", "ok", value, facts={"names": proxies})
    try:
        for scheme in ("http", "https"):
            proxy_of(f"{scheme}://endpoint.invalid/v1", {**environ, "NO_PROXY": "", "no_proxy": ""})
    except EngineConfigError:
        remedy = (
            "One of them is no http://HOST:PORT, and endpoints refuse it: mend it, or say options.proxy: none"
        )
        finding = Finding("proxies", "warning", value, remedy, {"names": proxies})
    names = [name for name in SETTINGS if environ.get(name)]
    return [finding, Finding("environment", "ok", ", ".join(names) or "nothing set", facts={"names": names})]


def existing(path: Path) -> Path:
    """Return a path, or the nearest above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _size_of(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                pass  # removed meanwhile
    return total
