"""Nobody from another machine reaches a process of the service, and nobody without the token a replica."""

from __future__ import annotations

import pickle
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.ray.processes import descendants, listeners
from tests.serve.on_ray import OnRay

pytestmark = pytest.mark.ray


def test_every_listener_of_the_service_is_on_loopback(service: OnRay) -> None:
    found = listeners(descendants(service.pid))
    commands = {process.command.split()[0] for process, _, _ in found}
    assert any("gateway" in command for command in commands), commands
    outside = [
        (process.command[:60], host, port) for process, host, port in found if not address(host).is_loopback
    ]
    assert not outside


def address(host: str) -> IPv4Address:
    found = ip_address(host)
    return getattr(found, "ipv4_mapped", None) or found


class Canary:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "sung"))


def test_a_pickle_that_is_sent_without_the_token_is_not_opened(service: OnRay, tmp_path: Path) -> None:
    import grpc
    from ray.serve.generated import serve_pb2, serve_pb2_grpc

    canary = tmp_path / "canary"
    sung = pickle.dumps(Canary(canary))
    request = serve_pb2.ASGIRequest(pickled_request_metadata=sung, request_args=sung, request_kwargs=sung)
    asked = 0
    for _, host, port in listeners(service.processes("ServeReplica")):
        with grpc.insecure_channel(f"{address(host)}:{port}") as channel:
            for name in ("HandleRequest", "HandleRequestStreaming", "HandleRequestWithRejection"):
                call = getattr(serve_pb2_grpc.ASGIServiceStub(channel), name)
                with pytest.raises(grpc.RpcError) as refused:
                    list(call(request, timeout=5)) if "Streaming" in name else call(request, timeout=5)
                asked += refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert asked >= 3 * len(service.processes("ServeReplica"))
    assert not canary.exists()
