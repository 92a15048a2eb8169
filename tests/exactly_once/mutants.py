"""Mutants: the protocol with one idea taken out. Each is what a plausible implementation does instead."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.errors import UnknownResultError
from raygen.pipeline import run, work
from raygen.pipeline.work import Todo, todos_of
from raygen.runs import collect, commit, media, retries, shelf, view
from raygen.runs.collect import Collected
from raygen.runs.commit import Commit, read_commits
from raygen.runs.plan import Plan
from raygen.storage import Store
from raygen.storage.sealed import seal
from tests.exactly_once.memory_store import MemoryStore
from tests.exactly_once.stepping import SteppingStore

Mutant = Callable[[pytest.MonkeyPatch], None]


def no_if_none_match(patch: pytest.MonkeyPatch) -> None:
    """The commit is a plain PUT: the last one counts."""

    def overwrite(self: MemoryStore, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True

    patch.setattr(MemoryStore, "put_if_absent", overwrite)


def delete_on_unknown(patch: pytest.MonkeyPatch) -> None:
    """A commit that got no answer is taken for failed, and its data cleaned up."""

    def tidy(store: Store, mine: Commit, attempt: Any = None) -> tuple[Commit, bool]:
        try:
            if store.put_if_absent(mine.key, seal(asdict(mine))):
                return mine, True
            standing = commit.read_commit(store, mine.chunk)
            return standing, standing.attempt == mine.attempt
        except UnknownResultError:
            store.delete(mine.data)
            raise

    patch.setattr(commit, "put_commit", tidy)


def refusal_is_success(patch: pytest.MonkeyPatch) -> None:
    """412 is taken for one's own write, come twice: nobody looks whose commit stands."""

    def trusting(store: Store, mine: Commit, attempt: Any = None) -> tuple[Commit, bool]:
        store.put_if_absent(mine.key, seal(asdict(mine)))
        return mine, True

    patch.setattr(commit, "put_commit", trusting)


def conflict_is_existence(patch: pytest.MonkeyPatch) -> None:
    """409 (or no answer) is taken for 412: a commit stands, so there is nothing more to do."""

    def hasty(store: Store, mine: Commit, attempt: Any = None) -> tuple[Commit, bool]:
        try:
            return mine, store.put_if_absent(mine.key, seal(asdict(mine)))
        except UnknownResultError:
            return mine, False

    patch.setattr(commit, "put_commit", hasty)


def shared_attempt_name(patch: pytest.MonkeyPatch) -> None:
    """The data object is named after its chunk alone."""
    attempt = work.Attempt

    def nameless(limit_s: float, started_s: float = 0.0) -> commit.Attempt:
        return attempt(limit_s, started_s, id="attempt")

    patch.setattr(work, "Attempt", nameless)


def commit_before_data(patch: pytest.MonkeyPatch) -> None:
    """First the claim, then the data."""
    put_own, put_commit = commit.put_own, commit.put_commit
    waiting: list[tuple[Any, ...]] = []

    def later(*arguments: Any) -> None:
        waiting.append(arguments)

    def first(*arguments: Any) -> tuple[Commit, bool]:
        answer = put_commit(*arguments)
        put_own(*waiting.pop())
        return answer

    patch.setattr(commit, "put_own", later)
    patch.setattr(commit, "put_commit", first)


def commit_before_archives(patch: pytest.MonkeyPatch) -> None:
    """First the claim, then the media that it names."""
    put_commit = commit.put_commit
    waiting: list[Callable[[], None]] = []

    def later(self: shelf.Shelf) -> None:
        if self._shard is None or self._file is None:
            return
        file, sha256 = self._file, self._shard.close()
        made = commit.StoredObject(self._key, self._shard.size_bytes, sha256, shelf.SHARD)
        waiting.append(lambda: self._store.put_file(made.key, file, sha256))
        self._objects.append(made)
        self._file = self._shard = None

    def first(*arguments: Any) -> tuple[Commit, bool]:
        answer = put_commit(*arguments)
        while waiting:
            waiting.pop()()
        return answer

    patch.setattr(shelf.Shelf, "_store_shard", later)
    patch.setattr(commit, "put_commit", first)


def archives_by_listing(patch: pytest.MonkeyPatch) -> None:
    """The commit names the archives that are found beside the table: those of the attempt that came first."""
    commit_chunk = work.commit_chunk

    def listed(store: Store, chunk: int, *arguments: Any, objects: Any, **more: Any) -> tuple[Commit, bool]:
        found: dict[str, list[commit.StoredObject]] = {}
        for info in store.list(f"data/{commit.chunk_name(chunk)}-"):
            if info.key.endswith(".tar"):
                sha256 = hashlib.sha256(store.get(info.key)).hexdigest()
                made = commit.StoredObject(info.key, info.size_bytes, sha256, shelf.SHARD)
                found.setdefault(info.key[:30], []).append(made)
        mine = {each.key for each in objects}
        groups = sorted(found.values(), key=lambda group: group[0].key in mine)  # attempts have random names
        first = groups[0] if groups else []
        return commit_chunk(store, chunk, *arguments, objects=tuple(first), **more)

    patch.setattr(work, "commit_chunk", listed)


def unchecked_media(patch: pytest.MonkeyPatch) -> None:
    """What stands at a medium's place is taken for it."""

    def trusting(store: Store, each: Commit, sample: Any) -> bytes:
        where, held = media.object_of(store, each, sample["shard"])
        return where.get_range(held.key, sample["offset"], sample["offset"] + sample["size_bytes"])

    patch.setattr(view, "read_media", trusting)


def collection_blind_to_archives(patch: pytest.MonkeyPatch) -> None:
    """Only the table that a commit names is live."""
    patch.setattr(commit.Commit, "keys", property(lambda self: [self.data]))


def zero_grace_collection(patch: pytest.MonkeyPatch) -> None:
    """Whatever no commit names goes, at once: of chunks without a commit too."""

    def greedy(
        store: Store, grace_s: float, *, dry_run: bool = False, now_s: float | None = None
    ) -> Collected:
        live = {each.data for each in read_commits(store, sorted(collect.committed_chunks(store)))}
        removed = [info.key for info in store.list("data/") if info.key not in live]
        for key in removed:
            store.delete(key)
        return Collected(removed, 0, 0, 0)

    patch.setattr(collect, "collect", greedy)


def listing_reader(patch: pytest.MonkeyPatch) -> None:
    """Readers take every data object that they find."""

    def found(self: retries.Merged) -> Any:
        store = self.chunks[0][0]
        for info in store.list("data/"):
            yield pq.read_table(pa.BufferReader(store.get(info.key)))

    patch.setattr(retries.Merged, "tables", found)


def stream_to_final_name(patch: pytest.MonkeyPatch) -> None:
    """An object appears under its name while it is being written."""

    def put(self: SteppingStore, key: str, data: bytes) -> None:
        self._at("put", key, lambda: self.inner.put(key, data[: len(data) // 2]))
        self._at("put", key, lambda: self.inner.put(key, data))

    def put_if_absent(self: SteppingStore, key: str, data: bytes) -> bool:
        if not self._at("put_if_absent", key, lambda: self.inner.put_if_absent(key, data[: len(data) // 2])):
            return False
        self._at("put", key, lambda: self.inner.put(key, data))
        return True

    patch.setattr(SteppingStore, "put", put)
    patch.setattr(SteppingStore, "put_if_absent", put_if_absent)


def no_checksum(patch: pytest.MonkeyPatch) -> None:
    """What the store gives is what was written."""

    def trusting(store: Store, each: Commit) -> pa.Table:
        return pq.read_table(pa.BufferReader(store.get(each.data)))

    patch.setattr(retries, "read_data", trusting)


def ranges_from_blocks(patch: pytest.MonkeyPatch) -> None:
    """A chunk's rows are those of the block at its place in this session's stream, not the plan's."""

    def streamed(plan: Plan, done: set[int], overlap: None) -> list[Todo]:
        left = todos_of(plan, done)
        return [replace(todo, range=plan.chunks[place]) for place, todo in enumerate(left)]

    patch.setattr(run, "todos_of", streamed)


def no_self_fencing(patch: pytest.MonkeyPatch) -> None:
    """An attempt goes on, however late it is."""
    patch.setattr(commit.Attempt, "check", lambda self, now_s=None: None)


def flipped(data: bytes, seed: int) -> bytes:
    """One bit of it, chosen by the seed, is another."""
    bit = int.from_bytes(hashlib.sha256(f"{seed}".encode()).digest()[:8], "big") % (8 * len(data))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
