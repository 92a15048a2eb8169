"""WebDataset: tar archives in which the files of one sample share their name up to the first dot."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import pyarrow as pa

from raygen.config.base import is_unicode
from raygen.data.media.images import IMAGE_SUFFIXES, check_image, check_size
from raygen.data.paths import carriers
from raygen.data.sources.base import RESERVED, InputFile, Range, SourcePlan, SourceReader
from raygen.data.sources.columns import SAMPLE_ROWS
from raygen.data.sources.cutter import Cutter
from raygen.data.sources.inputs import Found, OpenInput, changed, list_inputs
from raygen.data.sources.keys import KeyCheck
from raygen.data.sources.lines import Fault
from raygen.data.sources.partitions import partitions_of
from raygen.data.sources.records import row_columns
from raygen.data.sources.tar import Gap, Member, members
from raygen.errors import RowError, SourceError
from raygen.json_text import read_json

KEY = "key"  # the column that holds what the WebDataset library calls __key__
TEXT_SUFFIXES = frozenset(("json", "txt", "cls"))


@dataclass(slots=True)
class Sample:
    """A row: neighbouring members with one key; or, with key None, bytes that cannot be read."""

    key: str | None
    stop: int  # the position behind its last member
    files: dict[str, Member] = field(default_factory=dict)  # by column: the suffix, in lower case
    fault: Fault | None = None


class WebDatasetReader(SourceReader):
    """Columns: `key`, and each suffix: text for json, txt and cls, else bytes. Ranges are byte ranges.

    Members without a suffix, hidden ones and `__such__` ones are no samples. Images must decode. No member is
    ever unpickled, and none is written anywhere.
    """

    def pin(self, chunk_rows: int, used: Collection[str] | None) -> SourcePlan:
        if self.source.key not in (None, KEY):
            raise SourceError(f"source.key: {self.source.key!r}; allowed: {KEY!r} (the sample key), or none")
        inputs = list_inputs(self.source)
        cutter = Cutter(chunk_rows, self.source.max_rows)
        pinned = []
        columns: dict[str, pa.DataType] = {KEY: pa.string()}
        seen = 0
        with KeyCheck("the sample key (members of one sample must stand next to each other)") as check:
            for number, found in enumerate(inputs):
                if cutter.full:
                    break
                with found.store.open(found.info.key) as file:
                    _check_magic(file, found)
                    cutter.begin(number, 0)
                    sound = False
                    for row, sample in enumerate(samples(file, 0, found.info.size_bytes)):
                        sound = sound or sample.key is not None
                        if sample.files and seen < SAMPLE_ROWS:
                            seen += 1
                            columns |= {name: _type(name) for name in sample.files if name not in columns}
                        check.add(self._row_id(sample, found.name, row), number, row)
                        if not cutter.add(sample.stop):
                            break
                    else:
                        if cutter.rows and not sound:
                            raise _no_tar(found)
                    cutter.end()
                pinned.append(found.pin())
            check.finish(inputs)
        return SourcePlan(pinned, cutter.ranges, columns, sampled=True)

    def read(
        self, inputs: Sequence[InputFile], ranges: Iterable[Range], columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        with OpenInput(inputs, self.source.storage, lambda store, key, _: store.open(key)) as open_input:
            for each in ranges:
                pinned, file = open_input.of(each)
                yield self._read_range(file, pinned, each, columns)

    def _read_range(
        self, file: BinaryIO, pinned: InputFile, each: Range, columns: Sequence[str] | None
    ) -> pa.Table:
        ids: list[str] = []
        rows: list[dict[str, str | bytes]] = []
        errors: dict[int, Fault] = {}
        for row, sample in enumerate(samples(file, each.start, each.stop), each.first_row):
            try:
                rows.append(self._load(file, sample, columns))
            except RowError as error:
                where = f"{pinned.name}, row {row}" + (f" ({sample.key})" if sample.key else "")
                errors[len(ids)] = Fault(error.code, f"{where}: {error.message}")
                rows.append({})
            ids.append(self._row_id(sample, pinned.name, row))
        if len(ids) != each.rows:
            raise changed(pinned.uri)
        names = [KEY, *dict.fromkeys(n for row in rows for n in row if n != KEY)]
        folders = partitions_of(pinned.uri)
        laid_out = {
            name: pa.array([row.get(name) for row in rows], _type(name))
            if name in names or name not in folders
            else pa.array([None if row in errors else folders[name] for row in range(len(rows))], pa.string())
            for name in (names if columns is None else carriers(columns, names))
        }
        return pa.table({**row_columns(ids, errors), **laid_out})

    def _row_id(self, sample: Sample, name: str, row: int) -> str:
        if sample.key is None:
            return f"{name}#{row}"
        return sample.key if self.source.key == KEY else f"{name}/{sample.key}"

    def _load(self, file: BinaryIO, sample: Sample, columns: Sequence[str] | None) -> dict[str, str | bytes]:
        """Return the columns of a sample. Raises RowError."""
        if sample.fault is not None:
            raise RowError(sample.fault.code, sample.fault.message)
        row: dict[str, str | bytes] = {KEY: sample.key or ""}
        for name, member in sample.files.items():
            if columns is None or name in columns or _leads_to(name, columns):
                check_size(member.size_bytes, member.name, self.source.max_media_bytes)
                file.seek(member.data)
                row[name] = self._decode(name, member.name, file.read(member.size_bytes))
        return row

    def _decode(self, column: str, where: str, data: bytes) -> str | bytes:
        suffix = column.rpartition(".")[2]
        if suffix in TEXT_SUFFIXES:
            try:
                text = data.decode()
                if suffix == "json":
                    read_json(data)
            except UnicodeDecodeError as error:
                raise RowError("wrong_encoding", f"{where}: not UTF-8 at byte {error.start}") from None
            except json.JSONDecodeError as error:
                raise RowError("broken_json", f"{where}: {error}") from None
            return text
        if suffix in IMAGE_SUFFIXES:
            check_image(data, where, self.source.max_media_pixels)
        return data


def samples(file: BinaryIO, start: int, stop: int) -> Iterator[Sample]:
    """Yield the samples of [start, stop) in order, broken stretches among them. Reads headers only."""
    current: Sample | None = None
    gap: Gap | None = None
    for found in members(file, start, stop):
        if isinstance(found, Gap):
            gap = found
            continue
        name = _split(found.name)
        if name is None:
            continue
        key, column = name
        if current is not None and current.key == key:
            if gap is not None:
                current.fault = _gap_fault(gap)
                gap = None
        else:
            yield from _finished(current, gap)
            current, gap = Sample(key, found.stop), None
        _add(current, column, found, stop)
    yield from _finished(current, gap)


def _finished(sample: Sample | None, gap: Gap | None) -> Iterator[Sample]:
    if sample is not None:
        if not is_unicode(sample.key or ""):
            sample.fault = Fault("wrong_encoding", f"the name {sample.key!a} is not UTF-8")
            sample.key = None
        yield sample
    if gap is not None:
        yield Sample(None, gap.stop, fault=_gap_fault(gap))


def _add(sample: Sample, column: str, member: Member, stop: int) -> None:
    sample.stop = min(member.stop, stop)
    if member.fault is not None:
        sample.fault = Fault("corrupt_archive", f"{member.name!a} is {member.fault}")
    elif column in sample.files or column == KEY or column in RESERVED or not is_unicode(column):
        sample.fault = Fault("corrupt_archive", f"{member.name!a}: its suffix is taken or not UTF-8")
    else:
        sample.files[column] = member


def _gap_fault(gap: Gap) -> Fault:
    return Fault("corrupt_archive", f"bytes {gap.start:,} to {gap.stop:,} of the archive are no tar members")


def _split(name: str) -> tuple[str, str] | None:
    """Return sample key and column of a member's name; None if it belongs to no sample."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot or not suffix or (stem.startswith("__") and stem.endswith("__")):
        return None
    return f"{folder}{slash}{stem}", suffix.lower()


def _leads_to(column: str, wanted: Sequence[str]) -> bool:
    """Whether a path goes into the text of this column."""
    return pa.types.is_string(_type(column)) and any(each.startswith(f"{column}.") for each in wanted)


def _type(column: str) -> pa.DataType:
    return pa.string() if column == KEY or column.rpartition(".")[2] in TEXT_SUFFIXES else pa.large_binary()


def _check_magic(file: BinaryIO, found: Found) -> None:
    head = file.read(4)
    if not head:
        raise _no_tar(found)
    if head.startswith(b"\x1f\x8b") or head == b"\x28\xb5\x2f\xfd":
        raise SourceError(
            f"{found.uri} is compressed: samples cannot be found by seeking; store it as plain .tar"
        )


def _no_tar(found: Found) -> SourceError:
    return SourceError(f"{found.uri} is no tar archive; a glob such as folder/*.tar leaves other files out")
