"""The command `raygen serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raygen.cli.options import Inline, say

ServiceFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="a service's YAML file", show_default=False)
]


def serve(
    config: ServiceFile,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="override a field, such as models.smol.bound=8"),
    ] = None,
    inline: Inline = False,
    host: Annotated[str, typer.Option("--host", help="the address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one")] = 8000,
    trust_network: Annotated[
        bool,
        typer.Option(
            "--trust-network",
            help="start also if Ray Serve's own ports cannot be kept to this machine: who reaches them, and knows "
            "the token, runs code here",
        ),
    ] = False,
) -> None:
    """Serve models behind OpenAI-compatible endpoints, with files and batches, until Ctrl-C."""
    from raygen.serve.config import load_service

    found = load_service(config, sets or ())
    if inline:
        from raygen.serve.inline import serve_inline

        serve_inline(found, host, port, say)
        return
    from raygen.serve.cluster.run import serve_on_ray

    serve_on_ray(found, host, port, say, trust_network=trust_network)
