"""What the console shows beyond the public API: how models stand, a tenant's usage, the rows of a batch, and its report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from raygen.errors import KeyNotFoundError
from raygen.reports.public import public_report
from raygen.runs.commit import committed_chunks, read_commit, read_data
from raygen.serve.answering import Json
from raygen.serve.batches.layout import Place
from raygen.serve.service import Service
from raygen.serve.tenants.ledger import read_usage, usage_record
from raygen.serve.tenants.tenant import Tenant
from raygen.storage import Store
from raygen.wire.errors import ApiError
from raygen.wire.lines import public_words, refusal_in

MOST_TEXT = 2000  # characters of an answer that are shown


def data_routes() -> list[Route]:
    """Return the routes of the console's data: read-only, and of the tenant that asks alone."""
    return [
        Route("/console/api/models", _models),
        Route("/console/api/usage", _usage),
        Route("/console/api/rows/{batch}/{chunk}", _rows),
        Route("/console/api/report/{batch}", _report),
    ]


async def _models(request: Request) -> Response:
    service, tenant = _asked(request)
    told, others = [], []
    for served in service.catalog.listed(tenant):
        link = service.catalog.links.get(served.name)
        if link is None:
            of = served.model.name if served.adapter is not None else "the steps of a job"
            others.append({"name": served.name, "of": of})
            continue
        figures = await link.figures()
        told.append(
            {
                "name": served.name,
                "family": served.model.spec.family,
                "engine": served.model.spec.engine,
                "state": figures.state,
                "replicas": figures.replicas,
                "wanted": figures.wanted,
                "running": figures.running,
                "waiting": figures.waiting,
                "batch_rows": figures.batch_rows,
            }
        )
    return Json({"models": told, "others": others})


async def _usage(request: Request) -> Response:
    service, tenant = _asked(request)
    month = datetime.now(UTC).strftime("%Y-%m")
    lines = await run_in_threadpool(read_usage, service.store, tenant.name, month)
    models = usage_record(lines, service.config.models.get)
    return Json({"tenant": tenant.name, "month": month, "models": models})


async def _rows(request: Request) -> Response:
    run = await run_in_threadpool(_run_of, request)
    text = request.path_params["chunk"]
    if not (text.isascii() and text.isdigit()):
        raise ApiError(404, "not_found", "nothing is served at this path")
    return Json(await run_in_threadpool(rows_of, run, int(text[:9])))


async def _report(request: Request) -> Response:
    run = await run_in_threadpool(_run_of, request)
    page = await run_in_threadpool(_report_of, run, request.path_params["batch"])
    # It is saved, not shown: what is in it was written by models.
    headers = {"content-disposition": "attachment", "content-security-policy": "sandbox"}
    return Response(page, media_type="text/html", headers=headers)


def rows_of(run: Store, chunk: int) -> dict[str, Any]:
    """Return the outcomes of a batch's chunk, shortened for a page, and which chunks there are."""
    chunks = sorted(committed_chunks(run))
    if not chunks:
        return {"chunks": [], "chunk": 0, "rows": []}
    chunk = chunk if chunk in chunks else chunks[0]
    table = read_data(run, read_commit(run, chunk))
    columns = ["row_id", "status", "samples", "discarded", "error", "reason"]
    return {
        "chunks": chunks,
        "chunk": chunk,
        "rows": [_told(row) for row in table.select(columns).to_pylist()],
    }


def _told(row: dict[str, Any]) -> dict[str, Any]:
    text = next((sample["text"] for sample in row["samples"] or () if sample["text"] is not None), "")
    refusal = refusal_in(row)
    error = None if refusal is None else dict(zip(("code", "message"), refusal, strict=True))
    return {"row_id": row["row_id"], "status": row["status"], "text": _said(text)[:MOST_TEXT], "error": error}


def _said(body: str) -> str:
    """Return what an answer says, of a chat or a completion; of others the body as it is."""
    try:
        choices = orjson.loads(body)["choices"]
        return "\n".join(
            (each["message"]["content"] if "message" in each else each["text"]) or "" for each in choices
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body


def _report_of(run: Store, batch: str) -> bytes:
    try:
        return public_report(run, batch, public_words)
    except KeyNotFoundError:
        raise ApiError(
            409, "not_finished", "a report is made of a whole run", headers={"x-should-retry": "false"}
        ) from None


def _run_of(request: Request) -> Store:
    """Return the run of the tenant's own batch. Raises ApiError 404."""
    service, tenant = _asked(request)
    place = Place(tenant.name, request.path_params["batch"])
    if service.batches is None or not service.store.exists(place.request):
        raise ApiError(404, "batch_not_found", "there is no such batch", "batch")
    return service.store.child(place.run)


def _asked(request: Request) -> tuple[Service, Tenant]:
    return request.app.state.service, request.state.tenant
