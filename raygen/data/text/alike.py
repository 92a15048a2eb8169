"""Alike: which of millions of fingerprints repeat an earlier one. The working sets are on disk, mapped into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa

from raygen.data.text.fingerprint import DIGEST_BYTES, VALUE, band_rows

if TYPE_CHECKING:
    from raygen.data.text.fingerprint import Near

PART_ROWS = 2**20  # sorted at once: 64 bytes of memory each
BLOCK_ROWS = 2**16  # read at once
MAX_ROWS = 2**31 - 1
ALONE = -1


class Alike:
    """Takes fingerprints in their order and tells which are alike, by rules in which nothing but that order counts.

    The first of equal texts stays, the others repeat it. With `near`, rows are then looked at in their order: one that is
    similar enough to an earlier row that stays repeats the first such row; else it stays. So of the rows that stay no
    two are alike, as far as signatures tell, and nothing is dropped for being like a row that is itself dropped.

    A context manager: it holds temporary files, where `tempfile` puts them, of 28 bytes a row; with `near` and 128
    permutations of 500. In memory are some 64 MB to sort, and with `near` the places of those rows that stay and
    share a band with another row.

    Args:
        near: None: only equal texts are alike.
    """

    def __init__(self, near: Near | None) -> None:
        self._near = near
        self._folder = tempfile.TemporaryDirectory(prefix="raygen-alike-")
        self._files: dict[str, BinaryIO] = {}
        self._arrays: list[np.memmap[Any, Any]] = []
        self.rows = 0

    def __enter__(self) -> Alike:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._arrays.clear()
        self._folder.cleanup()

    def add(self, fingerprints: pa.Array) -> None:
        """Take in the next ones (no nulls). Raises ValueError: they were made with other settings."""
        if not len(fingerprints):
            return
        size = DIGEST_BYTES + (self._near.permutations * VALUE.itemsize if self._near else 0)
        data = b"".join(fingerprints.to_pylist())
        if len(data) != size * len(fingerprints):
            raise ValueError(f"fingerprints of another kind: {size} bytes each are expected")
        table = np.frombuffer(data, np.uint8).reshape(len(fingerprints), size)
        self._file("digests").write(table[:, :DIGEST_BYTES].tobytes())
        if self._near:
            self._file("signatures").write(table[:, DIGEST_BYTES:].tobytes())
        self.rows += len(fingerprints)
        if self.rows > MAX_ROWS:
            raise ValueError(f"more than {MAX_ROWS:,} rows to compare")

    def repeats(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield, a block at a time and in order: places of rows that repeat another, the places of those, similarities 0..1."""
        if not self.rows:
            return
        for file in self._files.values():
            file.flush()
        first = self._equal()
        like, similarity = self._similar(first) if self._near else (None, None)
        for at in range(0, self.rows, BLOCK_ROWS):
            block = np.array(first[at : at + BLOCK_ROWS])
            own = np.arange(at, at + len(block))
            texts = np.where(block == ALONE, own, block)  # the first row with this text
            of, share = texts, np.ones(len(block))
            if like is not None and similarity is not None:
                of = np.where(like[texts] == ALONE, texts, like[texts])
                share = np.where(like[texts] == ALONE, 1.0, similarity[texts])
            repeated = of != own
            yield own[repeated], of[repeated], share[repeated]

    def _equal(self) -> np.ndarray:
        """For each row the place of the first one with the same digest; ALONE for that one itself."""
        digests = self._opened("digests", np.dtype("<u8"), (self.rows, 2))
        first = self._made("first", np.dtype(np.int32), (self.rows,))
        for places in self._parts(digests[:, 0], None):
            keys = np.array(digests[places])
            order = np.lexsort((places, keys[:, 1], keys[:, 0]))
            keys, ordered = keys[order], places[order]
            new = np.ones(len(order), bool)
            new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
            leading = ordered[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
            first[ordered[~new]] = leading[~new]
        return first

    def _parts(self, keys: np.ndarray, among: np.ndarray | None) -> Iterator[np.ndarray]:
        """Yield the places of the rows in parts that sort in memory; equal keys are in one part.

        Args:
            among: rows with another value than ALONE here are left out.
        """
        parts = -(-self.rows // PART_ROWS)
        for part in range(parts):
            found = []
            for at in range(0, self.rows, BLOCK_ROWS):
                chosen = keys[at : at + BLOCK_ROWS] % np.uint64(parts) == part
                if among is not None:
                    chosen &= among[at : at + BLOCK_ROWS] == ALONE
                found.append(np.flatnonzero(chosen) + at)
            yield np.concatenate(found)

    def _similar(self, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each text that is the first of its kind: the place of the row that it is like, or ALONE; and how much."""
        assert self._near is not None
        width = self._near.permutations
        least = np.ceil(self._near.similarity * width - 1e-9)
        signatures = self._opened("signatures", VALUE, (self.rows, width))
        groups = self._groups(signatures, first)
        like = self._made("like", np.dtype(np.int32), (self.rows,))
        similarity = self._made("similarity", np.dtype(np.float32), (self.rows,))
        standing: dict[int, list[int]] = {}  # band and group -> rows of it that stay
        for at in range(0, self.rows, BLOCK_ROWS):
            block = np.array(groups[:, at : at + BLOCK_ROWS], np.int64)
            for number in np.flatnonzero((block != ALONE).any(axis=0)):
                place = at + int(number)
                mine = [band << 32 | int(group) for band, group in enumerate(block[:, number]) if group >= 0]
                found = sorted({each for group in mine for each in standing.get(group, ())})
                agree = (signatures[found] == signatures[place]).sum(axis=1) if found else np.zeros(0)
                close = np.flatnonzero(agree >= least)
                if len(close):
                    like[place] = found[close[0]]
                    # Of another text, however much alike: 1 is for equal ones.
                    similarity[place] = min(agree[close[0]], width - 0.5) / width
                    continue
                for group in mine:
                    standing.setdefault(group, []).append(place)
        return like, similarity

    def _groups(self, signatures: np.ndarray, first: np.ndarray) -> np.ndarray:
        """For each band and row the first row with the same values in the band; ALONE where no other row has them."""
        assert self._near is not None
        rows = band_rows(self._near.similarity, self._near.permutations)
        bands = self._near.permutations // rows
        keys = self._made("keys", np.dtype(np.uint64), (bands, self.rows))
        for at in range(0, self.rows, BLOCK_ROWS):
            block = np.array(signatures[at : at + BLOCK_ROWS]).astype(np.uint64)
            for band in range(bands):
                keys[band, at : at + len(block)] = _mixed(block[:, band * rows : (band + 1) * rows])
        groups = self._made("groups", np.dtype(np.int32), (bands, self.rows))
        for band in range(bands):
            for places in self._parts(keys[band], first):
                own = np.array(keys[band][places])
                order = np.argsort(own, kind="stable")
                own, ordered = own[order], places[order]
                new = np.ones(len(order), bool)
                new[1:] = own[1:] != own[:-1]
                leading = ordered[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
                shared = ~new
                shared[:-1] |= ~new[1:]
                groups[band, ordered[shared]] = leading[shared]
        return groups

    def _file(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = open(Path(self._folder.name, name), "wb")  # noqa: SIM115 - closed by __exit__
        return self._files[name]

    def _opened(self, name: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
        self._arrays.append(np.memmap(Path(self._folder.name, name), kind, "r", shape=shape))
        return self._arrays[-1]

    def _made(self, name: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
        array = np.memmap(Path(self._folder.name, name), kind, "w+", shape=shape)
        if kind == np.int32:
            array[:] = ALONE
        self._arrays.append(array)
        return array


def _mixed(values: np.ndarray) -> np.ndarray:
    """Hash the values of a band into one number. Two bands with one number are compared in full later."""
    found = np.full(len(values), 0xCBF29CE484222325, np.uint64)
    for column in values.T:
        found = (found ^ column) * np.uint64(0x100000001B3)
        found ^= found >> np.uint64(29)
    return found
