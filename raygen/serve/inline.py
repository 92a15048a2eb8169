"""The service in one process: uvicorn on loopback, engines and the batch worker inside."""

from __future__ import annotations

import asyncio
import math
import socket

import uvicorn

from raygen.messages import Say
from raygen.serve.app import make_app
from raygen.serve.config import ServiceConfig
from raygen.serve.heads import BoundedHeads
from raygen.serve.listening import bound, is_loopback
from raygen.serve.service import Service

# Longer than clients keep connections that they do not use: a request never meets one that is just being closed.
KEEP_ALIVE_S = 90
BACKLOG = 2048


def serve_inline(config: ServiceConfig, host: str, port: int, say: Say) -> None:
    """Serve until Ctrl-C. Raises UserError: refused before anything is loaded; EngineError."""
    listener = bound(host, port)
    service = Service.of(config, loopback=is_loopback(host))
    asyncio.run(_serve(service, listener, say))


class _Server(uvicorn.Server):
    """Tells the service when it is to end: new requests are refused, those under way end."""

    def __init__(self, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(service),
                http=BoundedHeads,
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(service.config.gateway.longest_answer_s),
            )
        )
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.draining = True
        await super().shutdown(sockets)


async def _serve(service: Service, listener: socket.socket, say: Say) -> None:
    server = _Server(service)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    await service.start(work=True)
    listener.listen(BACKLOG)  # before it is said that it serves: who comes at once waits a moment
    say(f"serving {', '.join(service.catalog.links)} at {url}/v1; console: {url}/console; Ctrl-C ends it")
    await server.serve(sockets=[listener])
    await service.close()
