"""Connecting to Ray: the cluster that a submitted job runs on, or a local instance of our own, on loopback only."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from raygen.cluster.private import hide_worker_lines
from raygen.errors import ConfigError, RaygenError

LOCAL_STORE_BYTES = 2**30
LOGS = "RAYGEN_RAY_LOGS"  # set: show what Ray and its workers log
ANSWER_S = 10.0  # within which a cluster takes a connection
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LEVEL = "RAY_BACKEND_LOG_LEVEL"


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Connect to Ray for the length of a `with`; shut down what was started.

    A `RAY_ADDRESS` (Ray sets it for submitted jobs) is used; otherwise a local instance starts on 127.0.0.1, without a
    dashboard, behind a token that only this process and its workers know.

    Raises:
        ConfigError: no cluster answers at RAY_ADDRESS. RaygenError: the local instance did not start.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Set before Ray is imported. A token in the environment leaves no file behind.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Ray's workers are nice (15) to what else runs on a node: here those are Ray's own processes and this one, which would
        # stop one of an engine's threads, and with it all that wait for it, whenever they look up.
        os.environ.setdefault("RAY_worker_niceness", "0")
    if not address or address.rpartition(":")[0] in LOOPBACK:
        # Despite its name, on Linux too: without it Ray exchanges 127.0.0.1 for the machine's own address, listens there, and
        # cannot find a cluster that listens on loopback.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # A killed driver's share of the cluster is kept for 180 s, and Ray Data rounds the others' down, to nothing on small
    # nodes: whoever resumes at once would wait. Drivers ask again every 10 s.
    os.environ.setdefault("RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S", "20")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():  # a caller's own instance, a test's cluster
        yield
        return
    if address:
        _check_answers(address)
    with _calm():
        _connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str | None) -> None:
    import ray

    quiet = {"logging_level": logging.ERROR, "log_to_driver": LOGS in os.environ}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=LOCAL_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
        if LOGS not in os.environ:
            hide_worker_lines()
    except ConnectionError as error:
        raise ConfigError(f"RAY_ADDRESS={address}: no Ray cluster answers there: {error}") from None
    except (RuntimeError, OSError, ValueError) as error:
        raise RaygenError(f"Ray did not start: {error}") from error


def _check_answers(address: str) -> None:
    """Ray itself would ask a dead address for many minutes. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():  # a client's address, or `auto`
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise ConfigError(f"RAY_ADDRESS={address}: no Ray cluster answers there: {error}") from None


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Keep Ray's connecting from taking over this process's signals and its standard error."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.nullcontext() if LOGS in os.environ else _native_logs_off():
            yield
    except SystemExit:  # Ray's answer to a SIGTERM
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _native_logs_off() -> Iterator[None]:
    """Hide what Ray's native code says on standard error. It is for its developers; what matters comes as an exception.

    It reads its level as this process connects. Ray's own processes get their environment from os.environ: changed beside
    it, the level is this process's alone, and their log files stay complete. That the level was set is said on standard
    error too; so what is written there during the `with` is held back and passed on without that line. Python's own
    writing goes on as before.
    """
    terminal, stderr = os.dup(2), sys.stderr
    os.putenv(LEVEL, "fatal")
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        if stderr is sys.__stderr__:
            sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, errors="backslashreplace")
        try:
            yield
        finally:
            os.unsetenv(LEVEL)
            os.dup2(terminal, 2)
            os.close(terminal)
            if sys.stderr is not stderr:
                sys.stderr.close()
                sys.stderr = stderr
            held.seek(0)
            for line in held:
                if LEVEL.encode() not in line:
                    os.write(2, line)


@dataclass(frozen=True)
class Capacity:
    """What the connected Ray has; `fixed` when no node can ever join, because all that it has is on loopback."""

    cpus: float
    gpus: float
    fixed: bool


def capacity() -> Capacity:
    """Return what the cluster has of CPUs, GPUs and memory."""
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    totals = {kind: sum(node["Resources"].get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
    fixed = all(ipaddress.ip_address(node["NodeManagerAddress"]).is_loopback for node in nodes)
    return Capacity(totals["CPU"], totals["GPU"], fixed)


def fitting(most: int, *needs: tuple[float, float]) -> int:
    """Return how many processes there is room for, up to `most`.

    Args:
        most: the number that is wanted.
        needs: for each resource, what a process needs and what is there.
    """
    return min([most, *(int(there / needed + 1e-6) for needed, there in needs if needed)])
