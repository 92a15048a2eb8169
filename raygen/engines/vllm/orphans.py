"""The orphan guard: ends an engine's own processes when the one that started them is killed."""

from __future__ import annotations

import multiprocessing
import subprocess

# Reads process ids, one a line; its input ends when the writer closes it or is no more, however that came about.
KILL_WHEN_INPUT_ENDS = (
    'pids=; while read -r pid; do pids="$pids $pid"; done; [ -z "$pids" ] || kill -KILL $pids'
)


class OrphanGuard:
    """A shell beside this process that outlives it just long enough to kill the children it was told of.

    For libraries whose processes live on when this one gets SIGKILL, and keep a GPU's memory for ever.
    """

    def __init__(self) -> None:
        self._told: set[int] = set()
        self._shell: subprocess.Popen[bytes] | None = None

    def watch_children(self) -> None:
        """Guard all present children that `multiprocessing` knows. To be called again when there may be more."""
        pids = {child.pid for child in multiprocessing.active_children() if child.pid is not None}
        if not pids - self._told:
            return
        if self._shell is None:
            # A session of its own: Ctrl-C at the terminal is for this process, which then ends its children itself.
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", KILL_WHEN_INPUT_ENDS],
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert self._shell.stdin is not None
        self._shell.stdin.write("".join(f"{pid}\n" for pid in sorted(pids - self._told)).encode())
        self._shell.stdin.flush()
        self._told |= pids

    def release(self) -> None:
        """Kill nothing: the children have ended in good order, and their ids may soon be others'."""
        if self._shell is not None:
            self._shell.kill()
            self._shell.communicate()
            self._shell = None
        self._told.clear()
