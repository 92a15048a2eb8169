"""The ledger of a run: which chunks are committed, which commits have been read, and whether it is enough.

A driver keeps one. It knows nothing of who does the work nor of who looks on: it reads the store, and takes note of what
it is told. Chunks are only ever added: what is committed stays so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

from raygen.errors import CorruptDataError, StorageError
from raygen.formatting import count
from raygen.runs.commit import Commit, committed_chunks, read_commit, read_commits
from raygen.runs.enough import goal_of
from raygen.runs.manifest import MANIFEST_KEY, Manifest
from raygen.runs.plan import Plan
from raygen.storage import Store


class Ledger:
    """What of a run is done, by whomever, and what is left.

    Args:
        duplicates: counts the duplicates among the accepted rows of some commits; asked only by runs that want a number of
            accepted rows.

    Attributes:
        done: the numbers of the chunks that are committed.
        known: the commits that have been read, by chunk. Where the goal counts rows, those of all chunks that are done.
        goal: when the run has enough.
    """

    def __init__(
        self, store: Store, plan: Plan, duplicates: Callable[[Iterable[Commit]], int] = lambda commits: 0
    ) -> None:
        self.store, self.plan = store, plan
        self.goal = goal_of(plan, duplicates)
        self.known: dict[int, Commit] = {}
        self._todo = frozenset(plan.todo)
        self.done = self._committed()
        self._earlier: threading.Thread | None = None

    @property
    def complete(self) -> bool:
        """Whether every chunk of the run is committed."""
        return len(self.done) == len(self._todo)

    @property
    def over(self) -> bool:
        """Whether the run needs no more work."""
        return self.complete or self.goal.reached

    def read_earlier(self, tell: Callable[[Commit], None] = lambda commit: None) -> None:
        """Read the commits of earlier sessions beside the work, so that a resume of many chunks starts at once.

        Where the goal counts rows they are read first: whether anything is left to do depends on them. A commit that cannot
        be read now is read again by `settle` and `commits`.

        Args:
            tell: takes each commit; called from another thread.
        """
        chunks = sorted(self.done)
        self._earlier = threading.Thread(target=self._read, args=(chunks, tell), daemon=True)
        self._earlier.start()
        if self.goal.counts_rows:
            self._earlier.join()
            self.goal.add(self.known.values())

    def take(self, chunk: int, commit: Commit | None) -> Commit | None:
        """Take note that a chunk is committed.

        Args:
            commit: as far as it is known; None: another attempt was first.

        Returns:
            The commit: another driver's is read where the goal counts rows, else it is None.

        Raises:
            KeyNotFoundError: the chunk has no commit; another driver has finished the run without it. Nothing was noted.
        """
        if commit is None and self.goal.counts_rows:
            commit = read_commit(self.store, chunk)
        if commit is not None:
            self.known[chunk] = commit
            self.goal.add([commit])
        self.done.add(chunk)
        return commit

    def look(self) -> None:
        """Take note of what other drivers have committed meanwhile. Raises StorageError."""
        self.done |= self._committed()
        if self.goal.counts_rows:
            self._read_unread()
            self.goal.add(self.known.values())

    def settle(self) -> Manifest | None:
        """End the reading of earlier commits; where the goal counts rows, look once more at what others have done.

        Returns:
            The manifest, if another driver has decided which chunks are in; else None.
        """
        if self._earlier is not None:
            self._earlier.join()
        if not self.goal.counts_rows:
            return None
        if self.store.exists(MANIFEST_KEY):
            return Manifest.load(self.store)
        self.look()
        return None

    def commits(self) -> dict[int, Commit]:
        """Return the commits of all chunks that are done, by chunk.

        Raises:
            StorageError: some cannot be seen from here, or the store does not answer. CorruptDataError: one is damaged.
        """
        if unseen := self.done - self._committed():
            raise StorageError(
                f"{self.store.uri}: {count(len(unseen), 'chunk was', 'chunks were')} committed on other nodes "
                "but cannot be seen from here; "
                "the output has to be s3:// or a path that all nodes share"
            )
        self._read_unread()
        return self.known

    def _committed(self) -> set[int]:
        return committed_chunks(self.store) & self._todo

    def _read_unread(self) -> None:
        unread = sorted(self.done - self.known.keys())
        self.known.update((commit.chunk, commit) for commit in read_commits(self.store, unread))

    def _read(self, chunks: list[int], tell: Callable[[Commit], None]) -> None:
        with contextlib.suppress(StorageError, CorruptDataError):
            for commit in read_commits(self.store, chunks):
                self.known[commit.chunk] = commit
                tell(commit)
