"""Run: a service on a Ray of its own on this machine, from the command line, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import threading

from raygen.cluster.connect import connected
from raygen.errors import ConfigError
from raygen.messages import Say
from raygen.serve.cluster.environment import set_variables
from raygen.serve.cluster.proxy import MAX_FILE
from raygen.serve.config import ServiceConfig
from raygen.serve.inline import is_loopback
from raygen.serve.tenants.keys import has_keys
from raygen.signals import catch_signals
from raygen.storage import open_store


def serve_on_ray(config: ServiceConfig, host: str, port: int, say: Say) -> None:
    """Serve on Ray until Ctrl-C; then let answers under way end. Raises UserError, EngineError."""
    port = _free(host, port)
    if not is_loopback(host) and not has_keys(open_store(config.store, config.storage)):
        raise ConfigError(
            f"--host {host}: other machines could ask without a key; make one: raygen keys add TENANT --store {config.store}"
        )
    set_variables()
    os.environ[MAX_FILE] = str(config.batches.max_file_bytes)
    with connected():
        from ray import serve

        from raygen.serve.cluster.deploy import application

        found = application(config)
        serve.start(
            proxy_location="HeadOnly",
            http_options={
                "host": host,
                "port": port,
                "request_timeout_s": config.gateway.longest_answer_s,
                "keep_alive_timeout_s": 90,
            },
            logging_config={"encoding": "JSON", "enable_access_log": False},
        )
        serve.run(found, name=config.name, route_prefix="/")
        say(f"serving {', '.join(config.models)} at http://{host}:{port}/v1")
        over = threading.Event()
        release = catch_signals(over.set)
        try:
            over.wait()
        finally:
            release()
        serve.shutdown()


def _free(host: str, port: int) -> int:
    """Return the port, chosen by the system if it is 0. Raises ConfigError: it is taken."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"--host {host} --port {port}: {error.strerror}; choose another with --port"
            ) from None
        return int(probe.getsockname()[1])
