"""The oracle: what a run's directory must hold, worked out from the input alone, without a line of raygen's.

It knows the layout (plan, data, commits, manifest, retries), the echo engine's rules and two programs, all written down
again here: text = SHA-256(row id, prompt, seed), seed = BLAKE2b-64(run seed, row id, sample, 0, step) >> 11; the chance of
a pair's first class is its digest's first byte (and one) as a part of the first three.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import pyarrow.parquet as pq

# Of the second program: the chance from which a sample is accepted, and how many a row may ask for again.
THRESHOLD, BUDGET = 0.4, 3


@dataclass(frozen=True)
class Row:
    """One row of the input, and whether its prompt is too long for the engine's first setting."""

    id: str
    prompt: str
    fails: bool


@dataclass(frozen=True)
class Expected:
    """What a run is to make of its input.

    Args:
        chunks: the rows of each chunk.
        retried: were the failed rows retried with success?
        refined: by which program? generate alone, or generate, verify and refine.
        media_bytes: the size of the pictures that its samples are, told by their SHA-256; 0: they are texts.
    """

    chunks: tuple[tuple[Row, ...], ...]
    seed: int
    samples: int
    retried: bool = False
    refined: bool = False
    media_bytes: int = 0

    def of(self, row: Row) -> tuple[str, tuple[str, ...]]:
        """Status and texts of one row."""
        if row.fails and not self.retried:
            return "failed", ()
        if self.media_bytes:
            seeds = [seed_of(row, self.seed, number, "generate") for number in range(self.samples)]
            return "accepted", tuple(_picture(row.prompt, seed, self.media_bytes) for seed in seeds)
        if self.refined:
            return _refined(row, self.seed, self.samples)
        texts = (_text(row, row.prompt, self.seed, number, "generate") for number in range(self.samples))
        return "accepted", tuple(texts)


def seed_of(row: Row, run_seed: int, number: int, step: str) -> int:
    named = "\x00".join((str(run_seed), row.id, str(number), "0", step)).encode()
    return int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), "big") >> 11


@lru_cache(4096)
def _picture(prompt: str, seed: int, size_bytes: int) -> str:
    return hashlib.sha256(picture(prompt, seed, size_bytes)).hexdigest()


def picture(prompt: str, seed: int, size_bytes: int) -> bytes:
    """A PNG of 8 x 8 pixels of noise, filled up with more of it in a chunk of its own."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = 8 * 8 * 3
    noise = hashlib.shake_256(f"{prompt}\x00{seed}".encode()).digest(rows + size_bytes)
    lines = b"".join(b"\0" + noise[at : at + 24] for at in range(0, rows, 24))
    head = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    head += part(b"IDAT", zlib.compress(lines, 1))
    filling = size_bytes - len(head) - 24
    return head + part(b"ecHo", noise[rows : rows + filling]) + part(b"IEND", b"")


def _text(row: Row, prompt: str, run_seed: int, number: int, step: str) -> str:
    seed = seed_of(row, run_seed, number, step)
    return hashlib.sha256("\x00".join((row.id, prompt, str(seed))).encode()).hexdigest()


def _passes(row: Row, text: str) -> bool:
    weights = [1 + byte for byte in hashlib.sha256(f"{row.prompt}\x00{text}".encode()).digest()[:3]]
    return weights[0] / sum(weights) >= THRESHOLD


@lru_cache(1024)
def _refined(row: Row, run_seed: int, samples: int) -> tuple[str, tuple[str, ...]]:
    """Rounds: what was rejected is asked for again by its prompt and text, until a sample passes or nothing is left."""
    drafts = [(n, _text(row, row.prompt, run_seed, n, "generate")) for n in range(samples)]
    made, left = samples, BUDGET
    while left and not any(_passes(row, text) for _, text in drafts):
        again, left = drafts[:left], left - len(drafts[:left])
        drafts = drafts[len(again) :]
        for number, text in again:
            drafts.append((made, _text(row, f"{row.prompt} {text}", run_seed, number, "refine")))
            made += 1
    accepted = tuple(text for _, text in drafts if _passes(row, text))
    return ("accepted", accepted) if accepted else ("rejected", tuple(text for _, text in drafts))


@dataclass
class Findings:
    """How often each promise was broken."""

    rows_lost: int = 0
    rows_doubled: int = 0
    wrong_hash: int = 0
    dangling: int = 0  # a commit or a manifest names data that is not there, or not those bytes
    uncommitted_visible: int = 0
    changed: int = 0  # a manifest and its commits differ, or an object changed that never may
    other: list[str] = field(default_factory=list)

    def add(self, more: Findings) -> None:
        for name, value in vars(more).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def broken(self) -> list[str]:
        """The names of the promises that were broken."""
        return [name for name, value in asdict(self).items() if value]


@lru_cache(256)
def _table(data: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(data), use_threads=False).to_pylist()
    return found


@lru_cache(1024)
def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def rows_of(data: bytes, archives: Mapping[str, bytes]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """(row id, status, texts) of the rows of a data object; of a picture, the SHA-256 of the bytes where it is to be."""

    def said(sample: dict[str, Any]) -> str:
        if sample["text"] is not None:
            return str(sample["text"])
        begin = sample["offset"]
        held = archives.get(sample["shard"], b"")[begin : begin + sample["size_bytes"]]
        return hashlib.sha256(held).hexdigest()

    return tuple((row["row_id"], row["status"], tuple(map(said, row["samples"]))) for row in _table(data))


def judge_rows(
    found: Iterable[tuple[str, str, tuple[str, ...]]], rows: Iterable[Row], expected: Expected
) -> Findings:
    """Compare outcomes with the rows they are to be of."""
    result, found = Findings(), list(found)
    wanted = {row.id: expected.of(row) for row in rows}
    counts = Counter(row_id for row_id, _, _ in found)
    result.rows_lost = sum(1 for row_id in wanted if not counts[row_id])
    result.rows_doubled = sum(count - 1 for row_id, count in counts.items() if row_id in wanted)
    strangers = [row_id for row_id in counts if row_id not in wanted]
    if strangers:
        result.other.append(f"rows of nowhere: {strangers[:3]}")
    result.wrong_hash = sum(1 for row_id, *out in found if row_id in wanted and tuple(out) != wanted[row_id])
    return result


def _record(objects: Mapping[str, bytes], key: str, result: Findings) -> dict[str, Any]:
    """Parse a record and check its seal."""
    try:
        record = json.loads(objects[key])
        seal = record.pop("seal")
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if hashlib.sha256(text.encode()).hexdigest() != seal:
            result.other.append(f"{key} does not match its seal")
        return dict(record)
    except (KeyError, ValueError) as error:
        result.other.append(f"{key} is no record: {type(error).__name__}")
        return {}


def _judge_chunk(
    objects: Mapping[str, bytes], prefix: str, commit: dict[str, Any], expected: Expected
) -> Findings:
    """Is the data there that a commit names, byte for byte, and is it the chunk's rows?"""
    data = objects.get(prefix + commit["data"])
    if data is None or (len(data), hashlib.sha256(data).hexdigest()) != (
        commit["size_bytes"],
        commit["sha256"],
    ):
        return Findings(dangling=1)
    archives = {}
    for held in commit.get("objects", ()):
        whole = objects.get((prefix if held["run"] is None else held["run"]) + held["key"])
        if whole is None or (len(whole), _sha256(whole)) != (held["size_bytes"], held["sha256"]):
            return Findings(dangling=1)
        archives[held["key"]] = whole
    found, rows = rows_of(data, archives), expected.chunks[commit["chunk"]]
    result = judge_rows(found, rows, expected)
    if [row[0] for row in found] != [row.id for row in rows]:
        result.other.append(f"chunk {commit['chunk']}: rows out of order")
    counts = Counter(status for _, status, _ in found)
    if {status: count for status, count in commit["counts"].items() if count} != dict(counts):
        result.other.append(f"chunk {commit['chunk']}: counts by status are wrong")
    return result


def judge_commits(objects: Mapping[str, bytes], prefix: str, expected: Expected) -> tuple[Findings, set[int]]:
    """Judge what is committed so far, in a run or (with a prefix) in a retry; returns the chunks too."""
    result, chunks = Findings(), set()
    for key in sorted(objects):
        if key.startswith(prefix + "commits/"):
            commit = _record(objects, key, result)
            if commit:
                result.add(_judge_chunk(objects, prefix, commit, expected))
                chunks.add(commit["chunk"])
                if key != f"{prefix}commits/{commit['chunk']:08d}.json":
                    result.other.append(f"{key} is of chunk {commit['chunk']}")
    return result, chunks


def judge_finished(objects: Mapping[str, bytes], expected: Expected) -> Findings:
    """Judge a finished run: every row of the input once, with the right text, through the manifest."""
    first = replace(expected, retried=False)
    result = judge_manifest(objects, "", first, set(range(len(expected.chunks))))
    if expected.retried:
        failing = {n for n, chunk in enumerate(expected.chunks) if any(row.fails for row in chunk)}
        result.add(judge_manifest(objects, "retries/0001/", expected, failing))
    return result


def judge_manifest(
    objects: Mapping[str, bytes], prefix: str, expected: Expected, chunks: set[int]
) -> Findings:
    """Judge what a manifest lists, which has to be these chunks."""
    result = Findings()
    manifest = _record(objects, prefix + "manifest.json", result)
    plan = _record(objects, prefix + "plan.json", result)
    listed = Counter(commit["chunk"] for commit in manifest.get("chunks", ()))
    size = {chunk: len(expected.chunks[chunk]) for chunk in chunks}
    result.rows_lost += sum(size[chunk] for chunk in chunks if not listed[chunk])
    result.rows_doubled += sum(size.get(chunk, 0) * (count - 1) for chunk, count in listed.items())
    if set(listed) - chunks:
        result.other.append(f"{prefix}manifest.json lists chunks that were not to do")
    if manifest.get("run_id") != plan.get("run_id"):
        result.other.append(f"{prefix}manifest.json and plan.json are of two runs")
    for commit in manifest.get("chunks", ()):
        result.add(_judge_chunk(objects, prefix, commit, expected))
        key = f"{prefix}commits/{commit['chunk']:08d}.json"
        if key not in objects or _record(objects, key, result) != commit:
            result.changed += 1
    return result


def live_data(objects: Mapping[str, bytes]) -> set[str]:
    """Keys of the data that a readable commit names."""
    live = set()
    for key in objects:
        top, within, _ = key.rpartition("commits/")
        if within:
            commit = _record(objects, key, Findings())
            live.add(top + commit.get("data", ""))
            live |= {top + each["key"] for each in commit.get("objects", ()) if each["run"] is None}
    return live
