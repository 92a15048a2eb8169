"""MemoryS3: what S3 does, in memory and without HTTP. fault_s3.py puts it on a port.

It knows PutObject (If-None-Match, If-Match, checksums), GetObject (Range, If-Match), HeadObject,
DeleteObject, DeleteObjects, ListObjectsV2, CreateBucket and HeadBucket; anything else is a 501. Signatures
are not checked.
"""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

CHECKSUMS = {
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}


@dataclass(frozen=True)
class StoredObject:
    data: bytes
    etag: str
    checksums: dict[str, str]  # headers, of the bytes as sent: a bit flip in `data` does not change them
    modified_s: float


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] | None = None


class MemoryS3:
    """Buckets of objects. Every method is safe to call from many threads.

    Args:
        buckets: made at the start.
        page_size: most objects in one page of a listing.
        ignore_if_none_match: act as a store without conditional writes does.
    """

    def __init__(self, buckets: Iterable[str], page_size: int, ignore_if_none_match: bool) -> None:
        self.buckets: dict[str, dict[str, StoredObject]] = {name: {} for name in buckets}
        self.page_size = page_size
        self.ignore_if_none_match = ignore_if_none_match
        self._lock = threading.Lock()

    def objects(self, bucket: str) -> dict[str, bytes]:
        with self._lock:
            return {key: stored.data for key, stored in self.buckets[bucket].items()}

    def put(self, bucket: str, key: str, data: bytes, headers: dict[str, str], flip: bool) -> Answer:
        sums = {name: headers[name] for name in headers if name.startswith("x-amz-checksum-")}
        wrong = _wrong_digest(data, headers)
        if wrong:
            return error_answer(400, wrong)
        with self._lock:
            objects = self.buckets[bucket]
            if headers.get("if-none-match") == "*" and key in objects and not self.ignore_if_none_match:
                return error_answer(412, "PreconditionFailed")
            if "if-match" in headers and (key not in objects or objects[key].etag != headers["if-match"]):
                return error_answer(412, "PreconditionFailed")
            etag = f'"{hashlib.md5(data).hexdigest()}"'
            objects[key] = StoredObject(flipped(data, key) if flip else data, etag, sums, time.time())
        return Answer(200, headers={"ETag": etag} | sums)

    def get(self, bucket: str, key: str, headers: dict[str, str]) -> Answer:
        with self._lock:
            stored = self.buckets[bucket].get(key)
        if stored is None:
            return error_answer(404, "NoSuchKey")
        if headers.get("if-match", stored.etag) != stored.etag:
            return error_answer(412, "PreconditionFailed")
        found = {"ETag": stored.etag, "Last-Modified": formatdate(stored.modified_s, usegmt=True)}
        found |= {"Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream"}
        size = len(stored.data)
        if "range" not in headers:
            sums = stored.checksums if headers.get("x-amz-checksum-mode") == "ENABLED" else {}
            return Answer(200, stored.data, found | sums)
        first, _, last = headers["range"].removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            return error_answer(416, "InvalidRange")
        found["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Answer(206, stored.data[start:stop], found)

    def list(self, bucket: str, query: dict[str, str]) -> Answer:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = unquote(query.get("continuation-token", "")) or query.get("start-after", "")
        limit = min(self.page_size, int(query.get("max-keys", 1000)))
        written = quote if query.get("encoding-type") == "url" else escape
        with self._lock:
            objects = sorted(self.buckets[bucket].items())
        lines: list[str] = []
        last = ""
        more = False
        for key, stored in objects:
            tail, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
            name = prefix + tail + found if found else key
            if not key.startswith(prefix) or name <= after or name == last:
                continue
            if len(lines) == limit:
                more = True
                break
            last = name
            if found:
                lines.append(f"<CommonPrefixes><Prefix>{written(name)}</Prefix></CommonPrefixes>")
                continue
            modified = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(stored.modified_s))
            lines.append(
                f"<Contents><Key>{written(name)}</Key><LastModified>{modified}</LastModified>"
                f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.data)}</Size></Contents>"
            )
        token = f"<NextContinuationToken>{quote(last)}</NextContinuationToken>" if more else ""
        url = "<EncodingType>url</EncodingType>" if written is quote else ""
        return _xml(
            "ListBucketResult",
            f"<Name>{bucket}</Name><Prefix>{written(prefix)}</Prefix><KeyCount>{len(lines)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{url}{token}{''.join(lines)}",
        )

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                self.buckets[bucket].pop(key, None)

    def answer(self, method: str, bucket: str, key: str, query: dict[str, str],
               headers: dict[str, str], body: bytes, flip: bool) -> Answer:  # fmt: skip
        if not key and method == "PUT" and not query:
            with self._lock:
                self.buckets.setdefault(bucket, {})
            return Answer(200)
        if bucket not in self.buckets:
            return error_answer(404, "NoSuchBucket")
        plain = not (set(query) - {"x-id"})
        if key and plain and method in ("GET", "HEAD"):
            return self.get(bucket, key, headers)
        if key and plain and method == "PUT" and "x-amz-copy-source" not in headers:
            return self.put(bucket, key, body, headers, flip)
        if key and plain and method == "DELETE":
            self.delete(bucket, [key])
            return Answer(204)
        if not key and method == "HEAD":
            return Answer(200)
        if not key and method == "GET" and query.get("list-type") == "2":
            return self.list(bucket, query)
        if not key and method == "POST" and "delete" in query:
            tree = ElementTree.fromstring(body)
            self.delete(bucket, [node.text or "" for node in tree.iter() if node.tag.endswith("Key")])
            return _xml("DeleteResult", "")
        return error_answer(501, "NotImplemented")


def _wrong_digest(data: bytes, headers: dict[str, str]) -> str | None:
    for name, digest in CHECKSUMS.items():
        sent = headers.get(f"x-amz-checksum-{name}")
        if sent is not None and sent != base64.b64encode(digest(data)).decode():
            return "BadDigest"
    if headers.get("content-md5", (md5 := base64.b64encode(hashlib.md5(data).digest()).decode())) != md5:
        return "BadDigest"
    signed = headers.get("x-amz-content-sha256", "")
    if len(signed) == 64 and signed != hashlib.sha256(data).hexdigest():
        return "XAmzContentSHA256Mismatch"
    return None


def flipped(data: bytes, key: str) -> bytes:
    if not data:
        return data
    bit = random.Random(key).randrange(8 * len(data))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _xml(tag: str, content: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?><{tag}>{content}</{tag}>'
    return Answer(200, text.encode(), {"Content-Type": "application/xml"})


def error_answer(status: int, code: str) -> Answer:
    made = _xml("Error", f"<Code>{code}</Code><Message>{code}</Message>")
    return Answer(status, made.body, made.headers)
