"""Routes: the closed list of what is served. A path that is not on it goes no further, whatever else it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raygen.wire import ENDPOINTS

MB = 2**20
ID = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be asked of a path.

    Attributes:
        path: a pattern of the whole path, as it came over the wire: nothing is decoded.
        methods: allowed ones. scope: that a key has to have; None: everybody may ask.
        max_body_bytes: of a body; larger ones are refused before they are read.
    """

    path: re.Pattern[str]
    methods: frozenset[str]
    scope: str | None
    max_body_bytes: int = 0


def _rule(path: str, methods: str, scope: str | None, max_body_bytes: int = 0) -> Rule:
    return Rule(re.compile(path), frozenset(methods.split()), scope, max_body_bytes)


def rules(max_file_bytes: int) -> list[Rule]:
    """Return the rules, with files of at most so many bytes."""
    found = [
        _rule(re.escape(path), "POST", "inference", 32 * MB if "images" in path else 4 * MB)
        for path in ENDPOINTS.own
    ]
    return [
        *found,
        _rule("/v1/models", "GET", "inference"),
        _rule(f"/v1/models/{ID}", "GET", "inference"),
        _rule("/v1/files", "POST", "files", max_file_bytes + 64 * 1024),
        _rule("/v1/files", "GET", "files"),
        _rule(f"/v1/files/{ID}", "GET DELETE", "files"),
        _rule(f"/v1/files/{ID}/content", "GET", "files"),
        _rule("/v1/batches", "POST", "batches", MB),
        _rule("/v1/batches", "GET", "batches"),
        _rule(f"/v1/batches/{ID}", "GET", "batches"),
        _rule(f"/v1/batches/{ID}/(?:cancel|retry)", "POST", "batches", MB),
        _rule("/v1/adapters", "GET POST", "admin", MB),
        _rule(f"/v1/adapters/{ID}", "DELETE", "admin"),
        _rule("/", "GET HEAD", None),
        _rule("/health(?:/live|/ready)?", "GET HEAD", None),
        _rule("/metrics", "GET", "admin"),
        _rule("/openapi.json", "GET HEAD", None),
        _rule(r"/console/?", "GET HEAD", None),
        _rule(r"/console/static/[A-Za-z0-9_-]{1,64}\.(?:js|css|svg)", "GET HEAD", None),
        _rule(r"/console/api/[a-z]{1,32}(?:/[A-Za-z0-9_.-]{1,200}){0,3}", "GET", "batches"),
    ]
