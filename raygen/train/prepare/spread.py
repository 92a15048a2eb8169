"""Spread: a function over many inputs, as Ray Data tasks, or in this process. What training uses Ray Data through.

Errors of raygen travel as rows, for through Ray they would lose their class.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from raygen.cluster.datasets import our_settings
from raygen.cluster.errors_as_text import pack_error, unpack_error
from raygen.cluster.quiet import quieten
from raygen.errors import RaygenError

# Yields, in any order or in that of the inputs, what `work` makes of each: JSON in, JSON out, as bytes.
Spread = Callable[[Callable[[bytes], bytes], Sequence[bytes]], Iterator[bytes]]


def in_process(work: Callable[[bytes], bytes], inputs: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the results of the work, done in this process."""
    return map(work, inputs)


def on_ray(work: Callable[[bytes], bytes], inputs: Sequence[bytes], *, cpus: float = 0.75) -> Iterator[bytes]:
    """Needs a connected Ray. Raises RaygenError: as `work` raised it."""
    stages = dataset(inputs).map_batches(
        partial(_apply, work=work), batch_size=None, batch_format="pyarrow", num_cpus=cpus
    )
    for batch in stages.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch.to_pylist():
            if row["error"] is not None:
                raise unpack_error(row["error"])
            yield row["result"]


_making = threading.Lock()  # settings are a process's, and feeds make datasets in threads of their own


def dataset(inputs: Sequence[bytes], *, preserve_order: bool = False) -> Any:
    """Return a Ray dataset of the inputs (column `input`), a block each, with our settings: a caller's own stay theirs."""
    import ray.data

    quieten()
    with _making, our_settings() as context:
        context.execution_options.preserve_order = preserve_order
        return ray.data.from_items([{"input": each} for each in inputs], override_num_blocks=len(inputs))


def _apply(batch: pa.Table, *, work: Callable[[bytes], bytes]) -> Iterator[pa.Table]:
    for each in batch.column("input"):
        row: dict[str, Any] = {"result": None, "error": None}
        try:
            row["result"] = work(each.as_py())
        except RaygenError as error:
            row["error"] = pack_error(error)
        yield pa.Table.from_pylist([row], schema=_RESULT)


_RESULT = pa.schema([("result", pa.large_binary()), ("error", pa.string())])
