"""The process group of a training's workers. It meets at the first worker's own Ray address, never on every interface.

Ray Train's own backend lets torch listen on all interfaces, without authentication: a laptop's training would be open to
its network.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.train.torch import TorchConfig

from raygen.cluster.private import torch_backend

TorchBackend: Any
TorchBackend, set_torch_variables = torch_backend()
TIMEOUT_S = 1800  # of one collective operation: others may be evaluating, or writing the model


@dataclass
class GroupConfig(TorchConfig):
    """TorchConfig, with a meeting point of our own."""

    timeout_s: int = TIMEOUT_S

    @property
    def backend_cls(self) -> type[_GroupBackend]:
        return _GroupBackend


class _GroupBackend(TorchBackend):
    def on_start(self, worker_group: Any, backend_config: GroupConfig) -> None:
        worker_group.execute(set_torch_variables)
        address, port = worker_group.execute_single(0, _listen)
        joined = [
            worker_group.execute_single_async(
                rank, _join, backend_config.backend, rank, len(worker_group), address, port,
                backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]  # fmt: skip
        ray.get(joined)


_listening: list[socket.socket] = []  # from `_listen` to `_join`, in the first worker's process


def _listen() -> tuple[str, int]:
    address = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    _listening[:] = [socket.create_server((address, 0), family=family)]
    return address, _listening[0].getsockname()[1]


def _join(backend: str, rank: int, workers: int, address: str, port: int, timeout_s: int) -> None:
    import torch.distributed as dist

    if ipaddress.ip_address(address).is_loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    timeout = timedelta(seconds=timeout_s)
    listening = _listening.pop().detach() if rank == 0 else None
    store = dist.TCPStore(
        address, port, workers, is_master=rank == 0, timeout=timeout, master_listen_fd=listening
    )
    dist.init_process_group(backend, store=store, rank=rank, world_size=workers, timeout=timeout)
