"""Private names of Ray Serve: a release that takes one away fails here, by name."""

from __future__ import annotations

import inspect

import pytest

from raygen.serve.cluster.private import READ, as_read, replace_grpc_bind


@pytest.mark.parametrize("variable", sorted(READ))
def test_serve_knows_the_variable(variable: str) -> None:
    as_read(variable)


def test_replicas_give_their_server_its_address_by_the_function_that_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray.serve._private import replica

    assert 'add_port_to_grpc_server(self._server, "[::]:0")' in inspect.getsource(replica)
    given: list[str] = []

    def own(server: object, address: str) -> int:
        given.append(address)
        return 7

    monkeypatch.setattr(replica, "add_port_to_grpc_server", own)
    for _ in range(2):  # twice is as good as once
        replace_grpc_bind(lambda own, server, address: own(server, address.replace("[::]", "127.0.0.1")))
    assert replica.add_port_to_grpc_server(None, "[::]:0") == 7
    assert given == ["127.0.0.1:0"]
