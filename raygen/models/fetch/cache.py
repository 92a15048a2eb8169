"""Cache: models on this machine's disk, each complete or not there at all, whoever else is fetching."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from raygen.errors import ModelReferenceError
from raygen.models.fetch.weights import DIGESTS_NAME, FileDigest, ResolvedWeights, digest_files, model_digest

log = logging.getLogger(__name__)

# A build fills an empty directory with a checked model. It returns the model's digest if it knows a better
# one than that of the files: of the GGUF file that they were converted from.
Build = Callable[[Path], str | None]


@dataclass(frozen=True, slots=True)
class CachedModel:
    ref: str
    digest: str
    size_bytes: int
    path: Path


@dataclass(slots=True)
class Record:
    """What `digests.json` says of a model directory."""

    ref: str
    digest: str
    files: dict[str, FileDigest]

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Return the record; None if there is none or it is no record."""
        try:
            value = json.loads(path.read_bytes())
            files = {name: FileDigest(**digest) for name, digest in value["files"].items()}
            return cls(str(value["ref"]), str(value["digest"]), files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, path: Path) -> None:
        part = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
        part.write_text(json.dumps(asdict(self), indent=1))
        os.replace(part, path)


class ModelCache:
    """A directory of model directories: $RAYGEN_CACHE, or ~/.cache/raygen/models.

    Raises:
        ModelReferenceError: it cannot be made or written.
    """

    def __init__(self) -> None:
        self.root = Path(os.environ.get("RAYGEN_CACHE") or "~/.cache/raygen/models").expanduser().absolute()

    def get(self, ref: str, identity: str, build: Build) -> ResolvedWeights:
        """Return the model of this identity, built first if it is not there or not whole.

        Args:
            ref: the reference as the user wrote it.
            identity: what the model is known by; content must not change under it.
            build: fills an empty directory.
        """
        name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', ref)[-80:].strip('.-')}-{_short_hash(identity)}"
        entry = self.root / name
        found = self._whole(entry)
        if found is not None:
            return found
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with self._lock(name, ref):
                found = self._whole(entry)  # another process may have built it while this one waited
                if found is not None:
                    return found
                for left in self.root.glob(f".build-{name}-*"):  # of a process that died
                    shutil.rmtree(left, ignore_errors=True)
                shutil.rmtree(entry, ignore_errors=True)  # it is damaged, if it is there
                return self._build(ref, entry, build)
        except OSError as error:
            raise ModelReferenceError(f"{ref}: cannot write the model cache {self.root}: {error}") from None

    def _build(self, ref: str, entry: Path, build: Build) -> ResolvedWeights:
        part = self.root / f".build-{entry.name}-{uuid.uuid4().hex}"
        part.mkdir()
        started = time.monotonic()
        log.info(f"fetching model {ref}")
        try:
            digest = build(part)
            files = digest_files(part, {})
            record = Record(ref, digest or model_digest(files), files)
            record.write(part / DIGESTS_NAME)
            try:
                os.rename(part, entry)
            except (
                OSError
            ):  # where locks do not work, another process may have been first: its model is as good
                found = self._whole(entry)
                if found is None:
                    raise
                return found
        finally:
            shutil.rmtree(part, ignore_errors=True)
        size_mb = sum(file.size_bytes for file in files.values()) / 1e6
        log.info(
            f"fetched model {ref}: {size_mb:.0f} MB in {time.monotonic() - started:.0f} s, now in {entry}"
        )
        return ResolvedWeights(entry, record.digest)

    def _whole(self, entry: Path) -> ResolvedWeights | None:
        """Return the model in a directory if all files of its record are there, unchanged."""
        record = Record.read(entry / DIGESTS_NAME)
        if record is None:
            return None
        now = digest_files(entry, record.files)
        if {name: file.sha256 for name, file in now.items()} != {
            name: file.sha256 for name, file in record.files.items()
        }:
            log.warning(
                f"model {record.ref}: files in {entry} are missing or changed since they were fetched"
            )
            return None
        return ResolvedWeights(entry, record.digest)

    def digest_of(self, directory: Path) -> str:
        """Return the digest of a model directory outside the cache; unchanged files are read once only."""
        path = self.root / "local" / f"{_short_hash(str(directory))}.json"
        record = Record.read(path)
        files = digest_files(directory, record.files if record else {})
        digest = model_digest(files)
        if record is None or record.files != files:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                Record(str(directory), digest, files).write(path)
            except OSError:
                pass  # a cache that cannot be written costs time only
        return digest

    def models(self) -> list[CachedModel]:
        """Return the models of the cache, by reference."""
        found = []
        for path in self.root.glob(f"*/{DIGESTS_NAME}"):
            record = None if path.parent.name.startswith(".") else Record.read(path)
            if record is not None:
                size = sum(file.size_bytes for file in record.files.values())
                found.append(CachedModel(record.ref, record.digest, size, path.parent))
        return sorted(found, key=lambda model: (model.ref, str(model.path)))

    @contextmanager
    def _lock(self, name: str, ref: str) -> Iterator[None]:
        """Hold the right to build an entry; the lock ends with its process, however that ends."""
        with (self.root / f".lock-{name}").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info(f"model {ref}: waiting for another process that is fetching it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
