"""Calls: over a deployment's handle, with raygen's own errors: nothing that Ray or Serve says goes further."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import ray
from ray.serve.exceptions import DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from raygen.cluster.errors_as_text import Failure
from raygen.errors import EngineError, ReplicaLostError

log = logging.getLogger(__name__)

# What is raised when a replica's process or node is no more, cannot be reached, or gave up a call that nobody gave up here.
LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.TaskCancelledError,
    RequestCancelledError,
)


async def called(model: str, handle: DeploymentHandle, *arguments: Any) -> Any:
    """Return what a method of a replica returns. Giving up waiting gives up the call.

    Raises:
        ReplicaLostError, EngineError, and what the replica raised.
    """
    response = handle.remote(*arguments)
    try:
        answer = await response
    except Exception as error:  # noqa: BLE001 - whatever Ray raises
        raise _raised(model, error) from None
    except BaseException:  # the caller is gone
        response.cancel()
        raise
    if isinstance(answer, Failure):
        raise answer.unpacked()
    return answer


async def streamed(model: str, handle: DeploymentHandle, *arguments: Any) -> AsyncGenerator[Any, None]:
    """Yield what a method of a replica yields. Ending early gives up the call. Raises what `called` raises."""
    response = handle.remote(*arguments)
    items = aiter(response)
    ended = False
    try:
        while True:
            try:
                item = await anext(items)
            except StopAsyncIteration:
                ended = True
                return
            except Exception as error:  # noqa: BLE001 - whatever Ray raises
                ended = True
                raise _raised(model, error) from None
            if isinstance(item, Failure):
                raise item.unpacked()
            yield item
    finally:
        if not ended:
            response.cancel()


def _raised(model: str, error: Exception) -> Exception:
    if isinstance(error, LOST):
        return ReplicaLostError(f"model {model!r}: the replica was lost while it answered")
    if isinstance(error, grpc.aio.AioRpcError):
        if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return EngineError(f"model {model!r}: a request or an answer is larger than a message may be")
        return ReplicaLostError(f"model {model!r}: the replica cannot be reached")
    if isinstance(error, DeploymentUnavailableError):
        return EngineError(f"model {model!r}: it could not be started; its replica's log says why")
    log.warning("model %s: a call failed: %s", model, type(error).__name__)
    return EngineError(f"model {model!r}: a call failed: {type(error).__name__}")
