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


def test_a_replica_that_listens_on_all_interfaces_all_the_same_is_ill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as open_to_all:
        open_to_all.bind(("0.0.0.0", 0))
        open_to_all.listen()
        port = open_to_all.getsockname()[1]
        monkeypatch.setattr(module, "_ports", {port})
        with pytest.raises(EngineError, match=f"port {port}"):
            check_rebound()
        monkeypatch.setenv(TRUSTED, "1")
        check_rebound()


def test_one_whose_server_never_asked_for_an_address_is_ill_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ports", set())
    with pytest.raises(EngineError, match="did not ask"):
        check_rebound()


def test_a_server_gets_its_port_on_the_node_s_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    given: list[str] = []

    def own(server: object, address: str) -> int:
        given.append(address)
        return 4711

    monkeypatch.setattr(module, "_ports", set())
    for node, wanted in (("127.0.0.1", "127.0.0.1:0"), ("fd00::1", "[fd00::1]:0")):
        monkeypatch.setattr(ray.util, "get_node_ip_address", lambda node=node: node)
        assert module._bind(own, None, "[::]:0") == 4711
        assert given.pop() == wanted
    check_rebound()
