"""Private names of Ray, which a release may take away: all that raygen uses of them, with a test each that they are there."""

from __future__ import annotations

from typing import Any


def hide_worker_lines() -> None:
    """Keep what happens to workers off standard output, where results belong. There is no public switch."""
    import ray

    ray._private.worker._worker_logs_enabled = False


def raised_in_worker(error: BaseException) -> BaseException:
    """Return what a training worker's function raised: Ray Train's wrapper of it has no `cause`."""
    raised: BaseException = getattr(error, "_base_exc", error)
    return raised


def torch_backend() -> tuple[Any, Any]:
    """Return Ray Train's backend for torch, to be subclassed, and the function that sets torch's variables in a worker."""
    from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend

    return _TorchBackend, _set_torch_distributed_env_vars
