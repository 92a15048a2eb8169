"""Checkpoint: a training at a step, complete or not there. What makes it count, its digests, is written last.

`checkpoints/<step>/`: model.safetensors (what is learnt; the rest is the base), optimizer.safetensors, average.safetensors
if an average of the weights is kept, state.json, and digests.json with the SHA-256 and size of each, sealed. Nothing is
pickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from safetensors import SafetensorError

from raygen.config.base import is_number
from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.storage import Store
from raygen.storage.sealed import seal, unseal

if TYPE_CHECKING:
    import torch

FOLDER = "checkpoints/"
MODEL, OPTIMIZER, AVERAGE = "model.safetensors", "optimizer.safetensors", "average.safetensors"
STATE, DIGESTS = "state.json", "digests.json"


@dataclass(slots=True)
class Snapshot:
    """A training at a step."""

    step: int  # steps done
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    state: dict[str, Any]  # JSON
    metric: float | None = None  # of the validation split, if it was evaluated at this step
    average: dict[str, torch.Tensor] | None = None  # of the weights, if one is kept

    def on_cpu(self) -> Snapshot:
        """Return a copy that no later step changes."""
        weights, optimizer = _copied(self.weights), _copied(self.optimizer)
        average = None if self.average is None else _copied(self.average)
        return Snapshot(self.step, weights, optimizer, self.state, self.metric, average)


def _copied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def folder_of(step: int) -> str:
    """Return the folder of the checkpoint after a step."""
    return f"{FOLDER}{step:08d}/"


def write(store: Store, snapshot: Snapshot) -> None:
    """Write a checkpoint; one of this step that is there stops to count first. Raises StorageError."""
    folder = folder_of(snapshot.step)
    store.delete(folder + DIGESTS)
    files = {}
    for name, data in _files(snapshot):
        store.put(folder + name, data)
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    store.put(folder + DIGESTS, seal({"step": snapshot.step, "metric": snapshot.metric, "files": files}))


def _files(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    """Yield one file after the other, so that one at a time is in memory."""
    from safetensors.torch import save as save_tensors

    yield MODEL, save_tensors(snapshot.weights)
    yield OPTIMIZER, save_tensors(snapshot.optimizer)
    if snapshot.average is not None:
        yield AVERAGE, save_tensors(snapshot.average)
    yield STATE, orjson.dumps(snapshot.state)


def read(store: Store, step: int) -> Snapshot:
    """Return a checkpoint, every byte checked.

    Raises:
        CorruptDataError: it is not complete, or not what was written.
        StorageError: the store does not answer.
    """
    from safetensors.torch import load as load_tensors

    folder = folder_of(step)
    try:
        record = unseal(store.get(folder + DIGESTS), store.uri_of(folder + DIGESTS))
        found = {name: _checked(store, folder + name, said) for name, said in record["files"].items()}
        if record["step"] != step:
            raise CorruptDataError(f"{store.uri_of(folder)} holds step {record['step']}")
        return Snapshot(
            step,
            load_tensors(found[MODEL]),
            load_tensors(found[OPTIMIZER]),
            orjson.loads(found[STATE]),
            record["metric"],
            load_tensors(found[AVERAGE]) if AVERAGE in found else None,
        )
    except (KeyNotFoundError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CorruptDataError(f"{store.uri_of(folder)} is no complete checkpoint: {error}") from None


def read_state(store: Store, step: int) -> dict[str, Any]:
    """Return a checkpoint's `state` alone. Raises CorruptDataError, KeyNotFoundError."""
    folder = folder_of(step)
    record = unseal(store.get(folder + DIGESTS), store.uri_of(folder + DIGESTS))
    state: dict[str, Any] = orjson.loads(_checked(store, folder + STATE, record["files"][STATE]))
    return state


def _checked(store: Store, key: str, said: dict[str, Any]) -> bytes:
    data = store.get(key)
    if len(data) != said["size_bytes"] or hashlib.sha256(data).hexdigest() != said["sha256"]:
        raise CorruptDataError(f"{store.uri_of(key)} is not what was written")
    return data


def complete_steps(store: Store) -> dict[int, float | None]:
    """Return the steps that have a valid digest file, and the metric of each; their other files are not looked at."""
    found = {}
    for info in store.list(FOLDER):
        step, _, name = info.key.removeprefix(FOLDER).partition("/")
        if name == DIGESTS and is_number(step):
            try:
                record = unseal(store.get(info.key), store.uri_of(info.key))
            except (CorruptDataError, KeyNotFoundError):
                continue
            found[int(step)] = record["metric"]
    return found


def latest(store: Store) -> Snapshot | None:
    """Return the newest checkpoint that is complete and what was written; None if there is none."""
    for step in sorted(complete_steps(store), reverse=True):
        try:
            return read(store, step)
        except CorruptDataError:
            continue
    return None


def prune(store: Store, keep: int, *, higher: bool) -> None:
    """Remove all but the newest and the `keep` best checkpoints, and what was never completed.

    Args:
        higher: is a higher metric better? Of equals the earlier step is kept. One without a metric is not among the best.
    """
    complete = complete_steps(store)
    if not complete:
        return
    rated = [(-metric if higher else metric, step) for step, metric in complete.items() if metric is not None]
    kept = {max(complete)} | {step for _, step in sorted(rated)[:keep]}
    gone = [
        info.key
        for info in store.list(FOLDER)
        if not info.key.removeprefix(FOLDER).startswith(tuple(f"{step:08d}/" for step in kept))
    ]
    for key in sorted(gone, key=lambda key: not key.endswith(f"/{DIGESTS}")):  # first what makes them count
        store.delete(key)


class Saver:
    """Writes checkpoints beside the training: `save` copies the numbers and returns, a thread does the rest.

    One at a time: a checkpoint waits until the one before it is written. What went wrong is raised by the next call.
    """

    def __init__(self, store: Store, keep: int, *, higher: bool) -> None:
        self._store = store
        self._keep = keep
        self._higher = higher
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def save(self, snapshot: Snapshot) -> None:
        self.finish()
        self._pending = self._thread.submit(self._write, snapshot.on_cpu())

    def finish(self) -> None:
        """Wait until everything is written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait, and end the thread; what went wrong is no longer said."""
        self._thread.shutdown(wait=True)

    def _write(self, snapshot: Snapshot) -> None:
        write(self._store, snapshot)
        prune(self._store, self._keep, higher=self._higher)
