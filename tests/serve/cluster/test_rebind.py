from __future__ import annotations

import socket

import pytest

from raygen.errors import EngineError
from raygen.serve.cluster import rebind as module
from raygen.serve.cluster.rebind import TRUSTED, check_rebound, rebind


def gone(bind: object) -> None:
    raise AttributeError("add_port_to_grpc_server")


def test_a_serve_that_cannot_be_told_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "replace_grpc_bind", gone)
    with pytest.raises(EngineError, match="--trust-network"):
        rebind()


def test_unless_the_network_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "replace_grpc_bind", gone)
    monkeypatch.setenv(TRUSTED, "1")
    rebind()


def test_a_process_that_listens_on_all_interfaces_all_the_same_is_ill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_rebound()
    with socket.socket() as open_to_all:
        open_to_all.bind(("0.0.0.0", 0))
        open_to_all.listen()
        with pytest.raises(EngineError, match=f"port {open_to_all.getsockname()[1]}"):
            check_rebound()
        monkeypatch.setenv(TRUSTED, "1")
        check_rebound()
