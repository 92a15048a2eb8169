"""Spread: a function over many inputs, as Ray Data tasks, or in this process. What training uses Ray Data through.

Errors of ours travel as rows: through Ray they would lose their class.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from raygen import errors
from raygen.cluster.connect import LOGS
from raygen.cluster.datasets import our_settings
from raygen.errors import RaygenError

# Yields, in any order or in that of the inputs, what `work` makes of each: JSON in, JSON out, as bytes.
Spread = Callable[[Callable[[bytes], bytes], Sequence[bytes]], Iterator[bytes]]


def in_process(work: Callable[[bytes], bytes], inputs: Sequence[bytes]) -> Iterator[bytes]:
    return map(work, inputs)


def on_ray(work: Callable[[bytes], bytes], inputs: Sequence[bytes], *, cpus: float = 0.75) -> Iterator[bytes]:
    """Needs a connected Ray. Raises RaygenError: as `work` raised it."""
    stages = dataset(inputs).map_batches(
        partial(_apply, work=work), batch_size=None, batch_format="pyarrow", num_cpus=cpus
    )
    for batch in stages.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch.to_pylist():
            if row["error"] is not None:
                raise known(row["error"], row["message"])
            yield row["result"]


_making = threading.Lock()  # settings are a process's, and feeds make datasets in threads of their own


def dataset(inputs: Sequence[bytes], *, preserve_order: bool = False) -> Any:
    """Return a Ray dataset of the inputs (column `input`), a block each, with our settings: a caller's own stay theirs."""
    import ray.data

    _quieten()
    with _making, our_settings() as context:
        context.execution_options.preserve_order = preserve_order
        return ray.data.from_items([{"input": each} for each in inputs], override_num_blocks=len(inputs))


def known(error: str, message: str) -> RaygenError:
    """Return an error of ours from its class's name and its message."""
    found: RaygenError = getattr(errors, error)(message)
    return found


def _apply(batch: pa.Table, *, work: Callable[[bytes], bytes]) -> Iterator[pa.Table]:
    for each in batch.column("input"):
        row: dict[str, Any] = {"result": None, "error": None, "message": None}
        try:
            row["result"] = work(each.as_py())
        except RaygenError as error:
            row["error"], row["message"] = type(error).__name__, str(error)
        yield pa.Table.from_pylist([row], schema=_RESULT)


_RESULT = pa.schema([("result", pa.large_binary()), ("error", pa.string()), ("message", pa.string())])


def _quieten() -> None:
    """Keep Ray Data's console for what a user can do something about; its log file has all."""
    if LOGS in os.environ:
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Advice on widths, which are ours to choose.
    warnings.filterwarnings(
        "ignore", category=UserWarning, module=r"ray\.data\._internal\.execution\.operators"
    )
