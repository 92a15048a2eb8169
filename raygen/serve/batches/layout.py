"""Layout: the keys of files and batches in the store, and the ids that they are made of.

    open/<tenant>.<batch>                     marker, before the request; gone after the end. All that workers list
    known/<tenant>  workers/<worker>.json     who has made something; who is alive
    tenants/<tenant>/
        files/<id>.json  contents/<id>-*     a file: its content first; `files/` makes it count
        deleted/<id>.json                     files and result files that are no more
        idem/<digest>.json                    what a key, or a repeated request, has made
        recent/<digest>/<id>                  the same of requests without a key, for some minutes
        requests/<batch>.json                 a batch exists from here on
        ends/<batch>.json  ends/<batch>-<n>   how it ended; how its n-th retry did
        batches/<batch>/                      verdict.json cancel.json finalizing.json claims/ retries/ run/

Ids begin with the time of their creation, inverted: a listing is newest first.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass

_LATEST_MS = 2**44 - 1  # in the year 2527; 11 hex digits
FILE = re.compile(r"file-[0-9a-f]{24}")
BATCH = re.compile(r"batch_[0-9a-f]{24}")
RESULT = re.compile(r"file-([0-9a-f]{24})-(output|errors)(?:-(\d{1,4}))?")
MARKER = re.compile(r"(.+)\.(batch_[0-9a-f]{24})(?:\.(\d{1,4}))?")
OPEN = "open/"
WORKERS = "workers/"  # signs of life
KINDS = OUTPUT, ERRORS = "output", "errors"  # of result files
KNOWN = "known/"  # tenants that have made something


def new_id(prefix: str) -> str:
    """Return an id that sorts before all that were made earlier."""
    return f"{prefix}{_LATEST_MS - int(time.time() * 1000):011x}{secrets.token_hex(7)[:13]}"


def made_s(name: str) -> float:
    """Return when an id was made, by its maker's clock."""
    return (_LATEST_MS - int(name[-24:][:11], 16)) / 1000


def result_id(batch: str, kind: str, retry: int) -> str:
    """Return the id of a result file: `output` or `errors`, of a batch or of its n-th retry."""
    return f"file-{batch.removeprefix('batch_')}-{kind}{f'-{retry}' if retry else ''}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch's objects are."""

    tenant: str
    batch: str

    @property
    def top(self) -> str:
        return f"tenants/{self.tenant}/"

    @property
    def request(self) -> str:
        return f"{self.top}requests/{self.batch}.json"

    @property
    def folder(self) -> str:
        return f"{self.top}batches/{self.batch}/"

    @property
    def run(self) -> str:
        return f"{self.folder}run"

    @property
    def verdict(self) -> str:
        return f"{self.folder}verdict.json"

    @property
    def cancel(self) -> str:
        return f"{self.folder}cancel.json"

    @property
    def finalizing(self) -> str:
        return f"{self.folder}finalizing.json"

    @property
    def claims(self) -> str:
        return f"{self.folder}claims/"

    def retry(self, number: int) -> str:
        return f"{self.folder}retries/{number:04d}.json"

    def end(self, retry: int = 0) -> str:
        return f"{self.top}ends/{self.batch}{f'-{retry}' if retry else ''}.json"

    def marker(self, retry: int = 0) -> str:
        return f"{OPEN}{self.tenant}.{self.batch}{f'.{retry}' if retry else ''}"
