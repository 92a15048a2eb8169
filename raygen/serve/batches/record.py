"""Record: what a batch is, told from the objects that stand in the store. There is no status anywhere that could be wrong.

Objects are only ever added, and each one moves a batch forward:

    request                        validating
    + verdict with errors          failed
    + verdict, and the run's plan  in_progress
    + cancel                       cancelling
    + finalizing                   finalizing
    + end                          completed, expired or cancelled: as the end says
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raygen.runs.commit import COMMITS, Commit
from raygen.runs.manifest import Totals
from raygen.runs.outcome import ACCEPTED
from raygen.runs.plan import PLAN_KEY
from raygen.serve.batches.layout import ERRORS, OUTPUT, Place, made_s, result_id
from raygen.serve.batches.objects import Objects
from raygen.storage.sealed import read_sealed
from raygen.usage import ENCODED_TOKENS, OUTPUT_TOKENS, PROMPT_TOKENS, Usage
from raygen.wire.errors import ApiError

VALIDATING, FAILED, IN_PROGRESS, CANCELLING, FINALIZING = (
    "validating",
    "failed",
    "in_progress",
    "cancelling",
    "finalizing",
)
COMPLETED, EXPIRED, CANCELLED = "completed", "expired", "cancelled"
Found = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """A batch's objects, as far as they are there.

    Attributes:
        planned_s: when its run was planned. commits: the keys of the run's commits.
        retries: of each retry its request, and its end or None.
    """

    place: Place
    request: Found
    verdict: Found | None = None
    cancel: Found | None = None
    finalizing: Found | None = None
    planned_s: float | None = None
    commits: tuple[str, ...] = ()
    end: Found | None = None
    retries: tuple[tuple[Found, Found | None], ...] = ()

    @property
    def status(self) -> str:
        if self.end is not None:
            return str(self.end["status"])
        if self.verdict is not None and self.verdict["errors"]:
            return FAILED
        if self.finalizing is not None:
            return FINALIZING
        if self.cancel is not None:
            return CANCELLING
        return IN_PROGRESS if self.planned_s is not None else VALIDATING

    @property
    def over(self) -> bool:
        return self.end is not None or self.status == FAILED

    @property
    def result(self) -> tuple[int, Found] | None:
        """The newest end that has results, with the number of its retry (0: of the batch itself)."""
        if self.end is None:
            return None
        for number in range(len(self.retries), 0, -1):
            end = self.retries[number - 1][1]
            if end is not None and end["status"] == COMPLETED:
                return number, end
        return 0, self.end


def read_record(objects: Objects, place: Place) -> Record:
    """Read where a batch stands. Raises ApiError 404 `batch_not_found`; StorageError."""
    request = objects.find(place.request)
    if request is None:
        raise ApiError(404, "batch_not_found", f"there is no batch {place.batch!r}", "batch_id")
    end = objects.find(place.end())
    retries = _retries(objects, place) if end is not None else ()
    if end is not None:
        return Record(place, request, objects.find(place.verdict), end=end, retries=retries)
    keys = {info.key for info in objects.store.list(place.folder)}

    def there(key: str) -> Found | None:
        return objects.find(key) if key in keys else None

    planned_s = None
    if (plan := f"{place.run}/{PLAN_KEY}") in keys:
        planned_s = objects.keep(
            f"{plan}#created_s", lambda: float(read_sealed(objects.store, plan)["created_s"])
        )
    commits = tuple(sorted(key for key in keys if key.startswith(f"{place.run}/{COMMITS}")))
    return Record(
        place,
        request,
        there(place.verdict),
        there(place.cancel),
        there(place.finalizing),
        planned_s,
        commits,
    )


def _retries(objects: Objects, place: Place) -> tuple[tuple[Found, Found | None], ...]:
    found: list[tuple[Found, Found | None]] = []
    while (request := objects.find(place.retry(len(found) + 1))) is not None:
        found.append((request, objects.find(place.end(len(found) + 1))))
    return tuple(found)


def batch_object(objects: Objects, record: Record) -> dict[str, Any]:
    """Return a batch as the API shows it: OpenAI's fields, and `retries`. Raises StorageError."""
    request, verdict, place = record.request, record.verdict or {}, record.place
    status, end, cancel = record.status, record.end or {}, record.cancel or {}
    finalizing = record.finalizing or {}
    number, result = record.result or (0, None)
    counts, usage = _progress(objects, record) if result is None else (result["counts"], result["usage"])
    ended_s = end.get("ended_s")
    errors = verdict.get("errors") or None
    return {
        "id": place.batch,
        "object": "batch",
        "endpoint": request["endpoint"],
        "model": verdict.get("model"),
        "errors": errors and {"object": "list", "data": errors},
        "input_file_id": request["input_file_id"],
        "completion_window": request["completion_window"],
        "status": status,
        "output_file_id": _file_of(place, result, OUTPUT, number),
        "error_file_id": _file_of(place, result, ERRORS, number),
        "created_at": int(request["created_s"]),
        "in_progress_at": _second(end.get("planned_s", record.planned_s)),
        "expires_at": int(request["expires_s"]),
        "finalizing_at": _second(end.get("finalizing_s", finalizing.get("finalizing_s"))),
        "completed_at": _second(ended_s if status == COMPLETED else None),
        "failed_at": _second(verdict.get("judged_s") if status == FAILED else None),
        "expired_at": _second(ended_s if status == EXPIRED else None),
        "cancelling_at": _second(end.get("cancelling_s", cancel.get("cancelling_s"))),
        "cancelled_at": _second(ended_s if status == CANCELLED else None),
        "request_counts": counts,
        "usage": usage_object(usage),
        "metadata": request["metadata"],
        "retries": [
            {
                "status": IN_PROGRESS if ended is None else ended["status"],
                "created_at": int(asked["created_s"]),
                "ended_at": None if ended is None else int(ended["ended_s"]),
            }
            for asked, ended in record.retries
        ],
    }


def damaged_object(batch: str) -> dict[str, Any]:
    """Return what is shown of a batch whose record does not match its checksum."""
    error = {
        "code": "data_damaged",
        "message": "what is stored of this batch does not match its checksum",
        "param": None,
        "line": None,
    }
    return {
        "id": batch,
        "object": "batch",
        "endpoint": "",
        "input_file_id": "",
        "completion_window": "",
        "status": FAILED,
        "created_at": int(made_s(batch)),
        "errors": {"object": "list", "data": [error]},
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
    }


def _progress(objects: Objects, record: Record) -> tuple[dict[str, int], Usage]:
    """Return the counts and the usage of what is committed so far."""
    sums = Totals()
    for commit in objects.find_many(record.commits):
        if commit is not None:
            sums.add(Commit.read(commit))
    total = record.verdict.get("rows", 0) if record.verdict is not None else 0
    return counts_of(total, sums), sums.usage


def counts_of(total: int, sums: Totals) -> dict[str, int]:
    """Return `request_counts`: what was never asked is in neither of the others."""
    completed = sums.rows[ACCEPTED]
    return {"total": total, "completed": completed, "failed": sums.rows["total"] - completed - sums.unasked}


def _file_of(place: Place, end: Found | None, kind: str, number: int) -> str | None:
    return result_id(place.batch, kind, number) if end is not None and end["bytes"][kind] else None


def _second(at_s: float | None) -> int | None:
    return None if at_s is None else int(at_s)


def usage_object(usage: Mapping[str, float]) -> dict[str, Any]:
    """Return `usage` as OpenAI's batches have it."""
    read = int(usage.get(PROMPT_TOKENS, 0) + usage.get(ENCODED_TOKENS, 0))
    made = int(usage.get(OUTPUT_TOKENS, 0))
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": int(usage.get("cached_tokens", 0))},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": int(usage.get("reasoning_tokens", 0))},
        "total_tokens": read + made,
    }
