"""Run: a service on a Ray of its own on this machine, from the command line, until Ctrl-C."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from typing import Any

from raygen.cluster.connect import LOGS, connected
from raygen.errors import EngineError
from raygen.messages import Say
from raygen.serve.cluster.environment import set_variables
from raygen.serve.cluster.proxy import MAX_FILE
from raygen.serve.cluster.rebind import TRUSTED
from raygen.serve.config import ServiceConfig
from raygen.serve.listening import bound, is_loopback
from raygen.serve.tenants.tenants import Tenants
from raygen.signals import catch_signals
from raygen.storage import open_store

# What an engine said, in the traceback that Serve keeps of it. For a person's eyes alone: nothing is decided by it.
SAID = re.compile(r"^raygen\.errors\.\w+: (.+)$", re.MULTILINE)
LOOK_S = 0.2


def serve_on_ray(
    config: ServiceConfig, host: str, port: int, say: Say, *, trust_network: bool = False
) -> None:
    """Serve on Ray until Ctrl-C; then let answers under way end; a second Ctrl-C ends them.

    Args:
        trust_network: start also if the replicas' own ports cannot be kept to this machine.

    Raises:
        UserError: refused before anything was loaded. EngineError: a model does not start.
    """
    with bound(host, port) as probe:  # Serve takes it itself
        port = int(probe.getsockname()[1])
    # As every gateway does: what they would refuse is refused before Ray is started.
    Tenants.of(config, open_store(config.store, config.storage), loopback=is_loopback(host))
    set_variables()
    os.environ[MAX_FILE] = str(config.batches.max_file_bytes)
    if trust_network:
        os.environ[TRUSTED] = "1"
    with connected():
        from ray import serve

        if LOGS not in os.environ:
            logging.getLogger("ray.serve").setLevel(logging.ERROR)
        _deploy(config, host, port)
        say(f"serving {', '.join(config.models)} at http://{host}:{port}/v1")
        _until_interrupted()
        say("ending: answers under way are waited for; Ctrl-C again ends them")
        try:
            _drain(config)
        except KeyboardInterrupt:
            pass
        serve.shutdown()


def _deploy(config: ServiceConfig, host: str, port: int) -> None:
    """Start Serve, and the service on it. Raises UserError, EngineError."""
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
    try:
        serve.run(found, name=config.name, route_prefix="/")
    except RuntimeError as error:
        said = [match[1] for each in _messages(config.name) for match in SAID.finditer(each)]
        raise EngineError(said[-1] if said else f"the service did not start: {error}") from None


def _messages(name: str) -> list[str]:
    from ray import serve

    application = serve.status().applications.get(name)
    return [] if application is None else [each.message for each in application.deployments.values()]


def _until_interrupted() -> None:
    over = threading.Event()
    release = catch_signals(over.set)
    try:
        over.wait()
    finally:
        release()


def _drain(config: ServiceConfig) -> None:
    """Let gateways refuse what is new, and wait for what is under way, as long as the longest answer may take."""
    from ray import serve

    gateway: Any = serve.get_app_handle(config.name)
    until_s = time.monotonic() + config.gateway.longest_answer_s
    while time.monotonic() < until_s:
        under_way = gateway.broadcast("drain").results(timeout_s=10)
        if not any(under_way):
            return
        time.sleep(LOOK_S)
