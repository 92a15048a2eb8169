"""Ray Data's settings, ours: for our datasets alone, a caller's own stay theirs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def our_settings() -> Iterator[Any]:
    """Make datasets with our settings for the length of a `with`; yields them, a DataContext, to be changed before the first."""
    import ray.data

    with warnings.catch_warnings():
        # Ray 2.60 warns of its own settings as it copies them; and retries can only be set with what 2.64 will drop.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ray.data.DataContext.get_current().copy()
        context.target_max_block_size = 1  # what a task yields is a block of its own, and flows on by itself
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.raise_original_map_exception = True
        context.memory_usage_poll_interval_s = None  # it costs each chunk at work a thread; nobody reads it
        context.execution_no_progress_timeout_s = -1  # a long file, a slow step: neither is a fault
        with ray.data.DataContext.current(context):
            yield context
