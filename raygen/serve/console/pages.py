"""Pages of the console: static files of this package, under a policy that lets nothing else run or load."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from raygen.wire.errors import ApiError

TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "html": "text/html"}
# Nothing inline, nothing from elsewhere, nothing framed; `blob:` for downloads alone.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@cache
def read_static(name: str) -> bytes | None:
    """Return a file of the console; None: there is none of that name."""
    place = files("raygen.serve.console").joinpath("static", name)
    return place.read_bytes() if "/" not in name and place.is_file() else None


def page_routes() -> list[Route]:
    """Return the routes of the console's pages. They hold no data: everybody may load them."""
    return [
        Route("/console", _console),
        Route("/console/", _console),
        Route("/console/static/{name}", _static),
    ]


async def _console(request: Request) -> Response:
    return _answer("console.html")


async def _static(request: Request) -> Response:
    return _answer(request.path_params["name"])


def _answer(name: str) -> Response:
    found = read_static(name)
    kind = TYPES.get(name.rpartition(".")[2])
    if found is None or kind is None:
        raise ApiError(404, "not_found", "nothing is served at this path")
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
    return Response(found, media_type=kind, headers=headers)
