"""Files: uploaded batch files, and result files, which are views of batches that ended."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from raygen.errors import CorruptDataError
from raygen.serve.batches.idempotency import FIRST, Once, id_for
from raygen.serve.batches.layout import FILE, KINDS, KNOWN, RESULT, Place, made_s, result_id
from raygen.serve.batches.objects import Objects
from raygen.serve.batches.pages import Page
from raygen.serve.batches.results import result_lines
from raygen.storage.base import BUFFER_BYTES
from raygen.wire.errors import ApiError

EXPIRES_S = 30 * 86400  # a batch file, unless it says otherwise


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes, piece by piece, and how many they are."""

    pieces: Iterator[bytes]
    size_bytes: int
    filename: str


class Files:
    """The files of all tenants."""

    def __init__(self, objects: Objects) -> None:
        self._objects, self._store = objects, objects.store

    def create(
        self,
        tenant: str,
        file: BinaryIO,
        filename: str,
        expires_s: int | None = None,
        once: Once = FIRST,
    ) -> dict[str, Any]:
        """Keep an uploaded batch file: its content first, then what makes it count.

        Raises ApiError.
        """
        self._objects.mark(f"{KNOWN}{tenant}")
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        size_bytes = file.seek(0, 2)
        body = {"sha256": sha256, "filename": filename, "expires_s": expires_s}
        name = id_for(self._objects, tenant, "files", "file-", once, body)
        meta = f"tenants/{tenant}/files/{name}.json"
        # Each attempt has a name of its own: what an earlier one left may be removed at any moment.
        content = f"tenants/{tenant}/contents/{name}-{secrets.token_hex(4)}.jsonl"
        found = self._objects.find(meta)
        if found is None:
            now_s = time.time()
            record = {
                "id": name, "bytes": size_bytes, "created_s": now_s, "filename": filename, "purpose": "batch",
                "expires_s": now_s + (expires_s or EXPIRES_S), "sha256": sha256, "content": content,
            }  # fmt: skip
            self._store.put_file(content, file, sha256)
            found = self._objects.settle(meta, record)
            if found["content"] == content and not self._store.exists(
                content
            ):  # taken for a leftover while this process slept
                self._store.put_file(content, file, sha256)
        return file_object(found)

    def find(self, tenant: str, file: str, param: str = "file_id") -> dict[str, Any]:
        """Return what is known of a file: `bytes`, `created_s`, ... Raises ApiError 404 `file_not_found`."""
        found = self._record(tenant, file)
        if found is None or self._gone(tenant, found):
            raise ApiError(404, "file_not_found", f"there is no file {file[:100]!r}", param)
        return found

    def get(self, tenant: str, file: str) -> dict[str, Any]:
        """Return a file as the API shows it. Raises ApiError 404 `file_not_found`."""
        return file_object(self.find(tenant, file))

    def listed(self, tenant: str, page: Page, purpose: str | None = None) -> dict[str, Any]:
        """Return a page of files, newest first; result files stand where their batches were created."""
        ids = [] if purpose == "batch_output" else self._objects.names(f"tenants/{tenant}/files/")
        if purpose != "batch":
            for name in self._objects.names(f"tenants/{tenant}/ends/"):
                batch, _, retry = name.partition("-")
                ids += [result_id(batch, kind, int(retry or 0)) for kind in KINDS]
        deleted = set(self._objects.names(f"tenants/{tenant}/deleted/"))
        there = (name for name in page.after(sorted(set(ids) - deleted)))
        found = (self._shown(tenant, name) for name in there)
        return page.of(
            file_object(each)
            for each in found
            if each is not None and not is_expired(each) and purpose in (None, each["purpose"])
        )

    def _shown(self, tenant: str, file: str) -> dict[str, Any] | None:
        """Return a file's record for listings: one that is damaged says so, and hides no other."""
        try:
            return self._record(tenant, file)
        except CorruptDataError:
            return damaged_record(file)

    def delete(self, tenant: str, file: str) -> dict[str, Any]:
        """Let go of a file: at once for readers; its bytes go when nothing needs them any more. Raises ApiError."""
        self.find(tenant, file)
        self._objects.settle(f"tenants/{tenant}/deleted/{file}.json", {"id": file, "deleted_s": time.time()})
        return {"id": file, "object": "file", "deleted": True}

    def content(self, tenant: str, file: str) -> Content:
        """Return a file's bytes. Raises ApiError 404 `file_not_found`."""
        found = self.find(tenant, file)
        if match := RESULT.fullmatch(file):
            place, number = Place(tenant, f"batch_{match[1]}"), int(match[3] or 0)
            lines = result_lines(self._objects, place, number, match[2])
            return Content(lines, found["bytes"], found["filename"])
        return Content(self._pieces(found["content"]), found["bytes"], found["filename"])

    def _pieces(self, key: str) -> Iterator[bytes]:
        with self._store.open(key) as opened:
            while piece := opened.read(BUFFER_BYTES):
                yield piece

    def _record(self, tenant: str, file: str) -> dict[str, Any] | None:
        if FILE.fullmatch(file):
            return self._objects.find(f"tenants/{tenant}/files/{file}.json")
        match = RESULT.fullmatch(file)
        if match is None:
            return None
        place, number, kind = Place(tenant, f"batch_{match[1]}"), int(match[3] or 0), match[2]
        end = self._objects.find(place.end(number))
        if end is None or not end["bytes"][kind]:
            return None
        lives_s = end["result_lives_s"]
        return {
            "id": file,
            "bytes": end["bytes"][kind],
            "created_s": end["ended_s"],
            "filename": f"{place.batch}_{kind}{f'_{number}' if number else ''}.jsonl",
            "purpose": "batch_output",
            "expires_s": None if lives_s is None else end["ended_s"] + lives_s,
        }

    def _gone(self, tenant: str, record: dict[str, Any]) -> bool:
        return is_expired(record) or self._store.exists(f"tenants/{tenant}/deleted/{record['id']}.json")


def is_expired(record: dict[str, Any]) -> bool:
    """Return whether a file is no more, by its age."""
    return record["expires_s"] is not None and time.time() >= record["expires_s"]


def damaged_record(file: str) -> dict[str, Any]:
    """Return what is listed of a file whose record does not match its checksum."""
    result = RESULT.fullmatch(file)
    return {
        "id": file,
        "bytes": 0,
        "created_s": made_s(f"batch_{result[1]}" if result is not None else file),
        "filename": "",
        "purpose": "batch" if result is None else "batch_output",
        "expires_s": None,
        "damaged": True,
    }


def file_object(record: dict[str, Any]) -> dict[str, Any]:
    """Return a file as the API shows it."""
    expires_s = record["expires_s"]
    return {
        "id": record["id"],
        "object": "file",
        "bytes": record["bytes"],
        "created_at": int(record["created_s"]),
        "expires_at": None if expires_s is None else int(expires_s),
        "filename": record["filename"],
        "purpose": record["purpose"],
        "status": "error" if record.get("damaged") else "processed",
        "status_details": "its record does not match its checksum" if record.get("damaged") else None,
    }
