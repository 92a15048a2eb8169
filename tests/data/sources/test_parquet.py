from __future__ import annotations

import io
import os
import tempfile
import uuid
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.data.sources.parquet_file import ParquetCursor, ParquetInput
from raygen.errors import SourceError
from raygen.storage import LocalStore
from tests.data.reading import PROPERTY, plan, read_all


def source(path: Path, **more: object) -> Source:
    return Source.model_validate({"format": "parquet", "uri": str(path), **more})


def table_of(rows: int) -> pa.Table:
    return pa.table(
        {
            "id": [f"k{i}" for i in range(rows)],
            "n": list(range(rows)),
            "tags": [[f"t{i}"] * (i % 3) for i in range(rows)],
        }
    )


def not_utf8(*texts: bytes) -> pa.Array:
    raw = pa.array(texts, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


@PROPERTY
@given(st.integers(0, 60), st.integers(1, 25), st.integers(1, 25), st.sampled_from([None, "id", "n"]))
def test_ranges_need_not_match_row_groups(
    rows: int, group_rows: int, chunk_rows: int, key: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        pq.write_table(table_of(rows), path, row_group_size=group_rows)
        found = read_all(source(path, key=key), chunk_rows)
    assert [row.values for row in found] == table_of(rows).to_pylist()
    prefix = {None: "a.parquet#", "id": "k", "n": ""}[key]
    assert [row.id for row in found] == [f"{prefix}{i}" for i in range(rows)]


def test_plan_has_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    empty = pa.table(
        {
            "s": pa.array(["a"]).dictionary_encode(),
            "none": pa.nulls(1),
            "nested": pa.array([[None]], pa.list_(pa.null())),
        }
    )
    pq.write_table(empty, path)
    planned = plan(source(path))
    assert planned.columns == {"s": pa.string(), "none": pa.string(), "nested": pa.list_(pa.string())}
    assert not planned.sampled
    assert [row.values for row in read_all(source(path))] == [{"s": "a", "none": None, "nested": [None]}]


def test_files_may_differ_in_columns_and_widths(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1], pa.int32()), "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": pa.array([2], pa.int64()), "c": [2.5]}), tmp_path / "2.parquet")
    assert plan(source(tmp_path)).columns == {"a": pa.int64(), "b": pa.string(), "c": pa.float64()}
    rows = read_all(source(tmp_path), columns=["c", "a"])
    assert [row.values for row in rows] == [{"c": None, "a": 1}, {"c": 2.5, "a": 2}]
    pq.write_table(pa.table({"a": ["text"]}), tmp_path / "3.parquet")
    with pytest.raises(SourceError, match=r"3\.parquet: column .a. is string; in 2\.parquet it is int64"):
        plan(source(tmp_path))


def test_max_rows(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        pq.write_table(table_of(10).append_column("f", [[name] * 10]), tmp_path / f"{name}.parquet")
    rows = read_all(source(tmp_path, max_rows=13), 4)
    assert [row.values["f"] for row in rows] == ["a"] * 10 + ["b"] * 3
    with pytest.raises(SourceError, match=r"10 values .*'k0' \(a\.parquet row 0 and b\.parquet row 0\)"):
        plan(source(tmp_path, max_rows=20, key="id"))
    assert len(plan(source(tmp_path, max_rows=10, key="id")).ranges) == 4
    pq.write_table(pa.table({"id": ["a", "b", "a"]}), tmp_path / "dup.parquet")
    assert len(plan(source(tmp_path / "dup.parquet", max_rows=2, key="id")).ranges) == 1


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["a", None, "b", None]), r"a\.parquet, row 1, 3: the key column 'id' is null or empty"),
        (pa.array(["a", "", "b", "c"]), "row 1: .* null or empty"),
        (pa.array(["a", "b", "b", "a"]), r"2 values .*'a' \(a\.parquet row 0 and a\.parquet row 3\), 'b' \("),
        (
            pa.array([1.5, 2.5, 3.5, 4.5]),
            r"column 'id' holds double \(1\.5 in row 0\); a key is text, a whole number or a UUID",
        ),
        (not_utf8(b"a.parquet#1", b"\xff", b"x", b"y"), r"'a\.parquet#1' \(a\.parquet row 0 and"),
    ],
)
def test_unfit_keys_are_refused(tmp_path: Path, column: pa.Array, message: str) -> None:
    pq.write_table(pa.table({"id": column}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=message):
        plan(source(tmp_path, key="id"))
    with pytest.raises(SourceError, match="no column 'x'; columns: id"):
        plan(source(tmp_path, key="x"))


def corrupt(path: Path, group: int, column: int) -> None:
    """Overwrite the pages of one column of one row group."""
    chunk = pq.ParquetFile(path).metadata.row_group(group).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(os.urandom(chunk.total_compressed_size))


@pytest.mark.parametrize(("broken", "lost"), [("n", False), ("id", True)])
def test_a_broken_row_group_costs_its_own_rows(tmp_path: Path, broken: str, lost: bool) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of(100), path, row_group_size=20, write_page_checksum=True)
    corrupt(path, 2, table_of(1).column_names.index(broken))
    rows = read_all(source(path, key="id"), 7)
    assert [row.code for row in rows] == [None] * 40 + ["corrupt_row_group"] * 20 + [None] * 40
    assert [row.id for row in rows[40:60]] == [f"a.parquet#{i}" if lost else f"k{i}" for i in range(40, 60)]
    assert [row.values["n"] for row in rows[60:]] == list(range(60, 100))
    assert (rows[47].message or "").startswith("a.parquet, row 47: row group 2 cannot be read: ")
    others = read_all(source(path), 7, columns=["tags"])
    assert all(row.code is None for row in others)


def test_a_group_that_breaks_in_its_middle_keeps_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    how = {"data_page_size": 1000, "write_page_checksum": True, "use_dictionary": False}
    pq.write_table(table_of(30_000), path, row_group_size=20_000, **how)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    with open(path, "r+b") as file:
        file.seek(chunk.data_page_offset + chunk.total_compressed_size - 500)
        file.write(os.urandom(300))
    rows = read_all(source(path, key="id"), 5000)
    assert [row.id for row in rows] == [f"k{i}" for i in range(30_000)]
    assert [row.code for row in rows[:16_384]] == [None] * 16_384  # two batches
    assert [row.code for row in rows[16_384:]] == ["corrupt_row_group"] * 3616 + [None] * 10_000
    assert [row.values["n"] for row in rows[:10_000]] == list(range(10_000))
    monkeypatch.setattr("raygen.data.sources.parquet_file.BATCH_BYTES", 20_000)
    with ParquetInput(LocalStore(tmp_path), "a.parquet", "a.parquet") as file:
        cursor = ParquetCursor(file, ["n"], None)
        assert cursor.take(19_999, 20_000).column("n").to_pylist() == [None]
        assert cursor.take(16_384, 16_385).column("n").to_pylist() == [16_384]


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bits_never_change_a_row_unseen(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of(200), path, row_group_size=20, write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    at = 4 + (seed * 7919) % (pq.ParquetFile(path).metadata.row_group(9).column(0).data_page_offset - 4)
    data[at] ^= 1 << (seed % 8)
    path.write_bytes(data)
    rows = read_all(source(path), 7)
    assert {row.code for row in rows} == {None, "corrupt_row_group"}
    assert [row.values for row in rows if row.code is None] == [
        value for value, row in zip(table_of(200).to_pylist(), rows, strict=True) if row.code is None
    ]
    assert sum(row.code is not None for row in rows) <= 20


def test_values_that_cannot_be_read_cost_their_row(tmp_path: Path) -> None:
    far = pa.array([0, 2**53, 0, 1], pa.timestamp("ms"))  # 2**53 ms are 285,000 years
    names = not_utf8(b"a", b"b", b"c", b"\xff")
    nested = pa.StructArray.from_arrays([not_utf8(b"x", b"y", b"\xff", b"z")], ["text"])
    often = pa.ListArray.from_arrays([0, 1, 1, 3, 4], pa.array([0, 0, 2**53, 0], pa.timestamp("ms")))
    table = pa.table({"id": names, "nested": nested, "when": far, "often": often})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read_all(source(tmp_path, key="id"))
    assert [row.id for row in rows] == ["a", "b", "c", "a.parquet#3"]
    assert [row.code for row in rows] == [None, "unreadable_value", "wrong_encoding", "wrong_encoding"]
    assert rows[2].message == "a.parquet, row 2: column 'nested' is not UTF-8: invalid start byte"
    assert [row.code for row in read_all(source(tmp_path), columns=["when"])][2:] == [None, None]
    often_codes = [row.code for row in read_all(source(tmp_path), columns=["often"])]
    assert often_codes == [None, None, "unreadable_value", None]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"# read me\n" * 100])
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    pq.write_table(table_of(3), tmp_path / "a.parquet")
    (tmp_path / "readme.md").write_bytes(data)
    with pytest.raises(SourceError, match=r"readme\.md is not a Parquet file"):
        plan(source(tmp_path))


def test_a_changed_input_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of(10), path)
    planned = plan(source(path))
    pq.write_table(table_of(11), path)
    with pytest.raises(SourceError, match="has changed"):
        list(open_source(source(path)).read(planned.inputs, planned.ranges, None))


def test_rows_in_order_decode_a_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(table_of(50_000), tmp_path / "a.parquet", row_group_size=25_000)
    decoded: list[int] = []
    real = ParquetInput.batches

    def counting(self: ParquetInput, group: int, columns: Any) -> Any:
        for batch in real(self, group, columns):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(ParquetInput, "batches", counting)
    with ParquetInput(LocalStore(tmp_path), "a.parquet", "a.parquet") as file:
        cursor = ParquetCursor(file, ["n"], "id")
        numbers = [
            n for i in range(0, 50_000, 1000) for n in cursor.take(i, i + 1000).column("n").to_pylist()
        ]
        assert numbers == list(range(50_000))
        assert sum(decoded) == 50_000
        assert max(decoded) <= 8192
        decoded.clear()
        assert cursor.take(40_000, 40_001).column("n").to_pylist() == [40_000]
        assert sum(decoded) <= 25_000
        assert cursor.take(24_999, 25_001).column("n").to_pylist() == [24_999, 25_000]


class CountingFile(io.BufferedReader):
    def __init__(self, raw: Any, asked: list[int]) -> None:
        super().__init__(raw)
        self._asked = asked

    def read(self, size: int | None = -1, /) -> bytes:
        self._asked.append(size or 0)
        return super().read(size)


def test_a_huge_row_group_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = pa.table({"image": [os.urandom(200_000) for _ in range(200)]})
    # A page is the least that can be read: without `write_batch_size` pyarrow would write a single one.
    how = {"compression": "none", "use_dictionary": False, "write_batch_size": 4}
    pq.write_table(wide, tmp_path / "a.parquet", **how)
    planned = plan(source(tmp_path), 10)
    asked: list[int] = []
    real = LocalStore.open
    monkeypatch.setattr(LocalStore, "open", lambda store, key: CountingFile(real(store, key), asked))
    before = pa.total_allocated_bytes()
    peak = 0
    for table in open_source(source(tmp_path)).read(planned.inputs, planned.ranges, None):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert table.num_rows == 10
    assert peak < 25e6 < wide.nbytes
    assert max(asked) < 2.5e6


def test_no_columns_at_all(tmp_path: Path) -> None:
    pq.write_table(table_of(5), tmp_path / "a.parquet")
    rows = read_all(source(tmp_path), columns=[])
    assert [row.id for row in rows] == [f"a.parquet#{i}" for i in range(5)]


def test_times_come_through(tmp_path: Path) -> None:
    when = datetime(2024, 5, 6, 7, 8, 9)
    pq.write_table(pa.table({"when": [when, None]}), tmp_path / "a.parquet")
    assert [row.values["when"] for row in read_all(source(tmp_path))] == [when, None]


U = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([uuid.UUID(U).bytes], pa.uuid()), U),
        (pa.array([Decimal("12345678901234567890")], pa.decimal128(20, 0)), "12345678901234567890"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array(["a"]).dictionary_encode(), "a"),
    ],
)
def test_uuids_and_whole_numbers_of_any_size_are_keys(tmp_path: Path, column: pa.Array, text: str) -> None:
    pq.write_table(
        pa.table({"id": column, "meta": pa.StructArray.from_arrays([column], ["id"])}), tmp_path / "a.parquet"
    )
    for key in ("id", "meta.id"):
        assert [row.id for row in read_all(source(tmp_path, key=key))] == [text]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([None, True]), r"holds bool \(True in row 1\)"),
        (pa.array([uuid.UUID(U).bytes], pa.binary(16)), r"holds fixed_size_binary\[16\] \(b'"),
        (pa.array([Decimal("1.50")]), r"holds decimal128\(3, 2\) \(1\.50 in row 0\)"),
        (pa.array([[1]]), r"holds list<.*> \(\[1\] in row 0\)"),
        (pa.array([], pa.float64()), r"holds double; a key is text, a whole number or a UUID"),
    ],
)
def test_what_a_key_column_holds_is_said(tmp_path: Path, column: pa.Array, message: str) -> None:
    pq.write_table(pa.table({"id": column}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=f"column 'id' {message}"):
        plan(source(tmp_path, key="id"))


def test_keys_may_be_of_other_types_in_other_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "q": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"id": ["1"], "q": ["y"]}), tmp_path / "2.parquet")
    with pytest.raises(SourceError, match=r"'1' \(1\.parquet row 0 and 2\.parquet row 0\)"):
        open_source(source(tmp_path, key="id")).plan(3, ["q"])
