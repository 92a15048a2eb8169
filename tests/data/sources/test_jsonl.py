from __future__ import annotations

import gzip
import json
import tempfile
import tracemalloc
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.data.sources.base import InputFile, Range
from raygen.data.sources.jsonl import DEEPEST, JsonLinesReader
from raygen.errors import SourceError
from raygen.storage import digest_input, find_inputs
from tests.data.reading import PROPERTY, Row, plan, read_all


def source(path: Path | str, **more: object) -> Source:
    return Source.model_validate({"format": "jsonl", "uri": str(path), **more})


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return packed


PACKERS = {".jsonl": lambda data: data, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstd}


def test_rows_ids_and_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"q": "one", "n": 1}\r\n\n   \n{"q": "two", "n": 2.5}')
    found = read_all(source(tmp_path))
    assert found == [
        Row("a.jsonl#0", None, None, {"q": "one", "n": 1}),
        Row("a.jsonl#1", None, None, {"q": "two", "n": 2.5}),
    ]
    planned = plan(source(tmp_path))
    assert planned.columns == {"q": pa.string(), "n": pa.float64()}
    assert planned.sampled


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_kind_of_broken_line_costs_itself_only(tmp_path: Path, suffix: str) -> None:
    good = b'{"id": 1, "q": "x"}'
    broken = {
        b'{"q": ': "broken_json",
        b'{"q": NaN}': "broken_json",
        b'{"q": -Infinity}': "broken_json",
        b'{"q": "\\ud83d"}': "broken_json",
        b"[" * 100_000: "broken_json",
        b'{"q": ' + b"[" * DEEPEST + b"]" * DEEPEST + b"}": "broken_json",
        b"\x00": "broken_json",
        b'["q"]': "not_an_object",
        b"null": "not_an_object",
        b'{"q": "\xff"}': "wrong_encoding",
        b'{"q": "' + b"x" * 200_000 + b'"}': "line_too_long",
    }
    lines = [line for bad in broken for line in (good, bad)]
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(PACKERS[suffix](b"\n".join(lines)))
    rows = read_all(source(path, max_line_bytes=150_000))
    assert [row.code for row in rows] == [code for bad in broken for code in (None, broken[bad])]
    assert all(row.values == {"id": 1, "q": "x"} for row in rows if row.code is None)
    assert rows[1].message is not None
    assert rows[1].message.startswith(f"rows{suffix}, line 2 (row #1): ")


def test_nesting_up_to_the_limit_is_fine(tmp_path: Path) -> None:
    text = '{"q": ' + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1) + "}"
    (tmp_path / "a.jsonl").write_text(text + "\n" + '{"q": "' + "[{" * 1000 + '"}')
    rows = read_all(source(tmp_path))
    assert [row.code for row in rows] == [None, None]
    assert plan(source(tmp_path)).columns == {"q": pa.string()}


LONG = b'{"a":"' + b"y" * 1500 + b'"}'
LINE = st.sampled_from([b'{"a":1}', b"", b"  ", b"{", b"[1]", LONG, b'{"a":"\xc3\xa9"}'])


@PROPERTY
@given(st.lists(LINE, max_size=40), st.integers(1, 12), st.booleans(), st.sampled_from(sorted(PACKERS)))
def test_boundaries_against_naive_code(lines: list[bytes], chunk_rows: int, last: bool, suffix: str) -> None:
    data = b"\n".join(lines) + (b"\n" if last else b"")
    expected: list[object] = []
    for line in data.split(b"\n"):
        if line.strip():
            try:
                value = json.loads(line)
                expected.append(value if isinstance(value, dict) and len(line) <= 1024 else None)
            except ValueError:
                expected.append(None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{suffix}"
        path.write_bytes(PACKERS[suffix](data))
        rows = read_all(source(path, max_line_bytes=1024), chunk_rows)
    assert [row.values if row.code is None else None for row in rows] == expected
    assert [row.id for row in rows] == [f"rows{suffix}#{i}" for i in range(len(rows))]


def test_one_percent_poison_loses_no_good_row(tmp_path: Path) -> None:
    lines = [b'{"id": "k%d"}' % i if i % 100 != 50 else b'{"id": "k%d", "x": \xff' % i for i in range(5000)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    rows = read_all(source(tmp_path, key="id"), chunk_rows=128)
    assert [row.id for row in rows] == [f"a.jsonl#{i}" if i % 100 == 50 else f"k{i}" for i in range(5000)]
    assert sum(row.code is None for row in rows) == 4950


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "x"}\n{"id": 7}\n{"id": 1.5}\n{"other": 1}\n{"id": "x\n{"id": "x\n')
    rows = read_all(source(path, key="id"))
    assert [row.id for row in rows] == ["x", "7", "a.jsonl#2", "a.jsonl#3", "a.jsonl#4", "a.jsonl#5"]
    codes = [None, None, "missing_key", "missing_key", "broken_json", "broken_json"]
    assert [row.code for row in rows] == codes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1}\n{"id": null}', r"a\.jsonl, line 2: the key column 'id' is null or empty"),
        ('{"id": 1}\n{"id": ""}', "line 2: .* null or empty"),
        ('{"id": 7}\n{"id": 8}\n{"id": "7"}', r"1 value .*: '7' \(a\.jsonl row 0 and a\.jsonl row 2\)"),
        ('{"id": "a.jsonl#1"}\n{', r"'a\.jsonl#1' \(a\.jsonl row 0 and a\.jsonl row 1\)"),
        (
            '{"id": 1.5, "q": 2}',
            r"line 1: the key 'id' holds numbers with a fraction \(1\.5\); a key is text",
        ),
        ('{"id": true}\n{"id": 2.5}', r"line 1: the key 'id' holds booleans \(True\)"),
        ('{"ID": 1, "q": 2}', "no column 'id'; columns: ID, q"),
    ],
)
def test_unfit_keys_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(SourceError, match=message):
        plan(source(tmp_path, key="id"))


def test_max_rows_counts_over_all_files(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jsonl").write_text('{"x": 1}\n' * 4)
    rows = read_all(source(tmp_path, max_rows=6))
    assert [row.id for row in rows] == [f"a.jsonl#{i}" for i in range(4)] + ["b.jsonl#0", "b.jsonl#1"]
    assert len(plan(source(tmp_path, max_rows=6)).inputs) == 2


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("max_rows", [None, 1])
def test_digest_is_that_of_the_file_though_it_is_read_once(
    tmp_path: Path, suffix: str, max_rows: int | None
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACKERS[suffix](b'{"x": 1}\n' * 100_000))
    ((store, info),) = find_inputs(str(path))
    (pinned,) = plan(source(path, max_rows=max_rows), 10_000).inputs
    assert pinned.digest == digest_input(store, info)


def test_a_changed_input_is_refused_and_a_touched_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n{"x": 2}\n')
    planned = plan(source(path))
    path.write_text('{"x": 1}\n{"x": 2}\n')
    (table,) = open_source(source(path)).read(planned.inputs, planned.ranges, None)
    assert table.num_rows == 2
    path.write_text('{"x": 1}\n{"x": 3}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl has changed"):
        list(open_source(source(path)).read(planned.inputs, planned.ranges, None))
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.jsonl is gone"):
        list(open_source(source(path)).read(planned.inputs, planned.ranges, None))


def test_what_stands_unchanged_is_not_read_to_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n')
    planned = plan(source(path))
    monkeypatch.setattr("raygen.data.sources.inputs.digest_input", lambda *_: pytest.fail("read again"))
    (table,) = open_source(source(path)).read(planned.inputs, planned.ranges, None)
    assert table.num_rows == 1
    with pytest.raises(SourceError, match="has changed"):
        list(open_source(source(path)).read(planned.inputs, [Range(0, 0, 9, 2, 0)], None))


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_limit_is_exact(tmp_path: Path, end: str) -> None:
    fits = '{"x": "' + "y" * 1015 + '"}'
    (tmp_path / "a.jsonl").write_text(f"{fits}\n{fits} \n{fits[:-2]}yy{fits[-2:]}\n{fits}{end}")
    codes = [row.code for row in read_all(source(tmp_path, max_line_bytes=1024))]
    assert codes == [None, "line_too_long", "line_too_long", None]


def test_a_cut_off_archive_keeps_its_good_lines(tmp_path: Path) -> None:
    lines = b"".join(b'{"x": %d}\n' % (i * i) for i in range(20_000))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines)[:-9])
    rows = read_all(source(path), chunk_rows=5000)
    assert [row.values["x"] for row in rows if row.code is None] == [i * i for i in range(20_000)]
    assert [row.code for row in rows[20_000:]] == ["corrupt_archive"]
    path.write_bytes(gzip.compress(lines[: len(lines) // 2]) + gzip.compress(lines[len(lines) // 2 :]))
    assert len(read_all(source(path), chunk_rows=5000)) == 20_000


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_what_is_not_compressed_at_all_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_text('{"x": 1}\n')
    with pytest.raises(SourceError, match="cannot be decompressed"):
        plan(source(path))
    path.write_bytes(b"")
    assert plan(source(path)).ranges == []


@pytest.mark.parametrize("suffix", PACKERS)
def test_an_endless_line_is_never_held_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACKERS[suffix](b'{"x": 1}\n' + b'{"x": "' + b"y" * 40_000_000 + b'"}\n{"x": 2}\n'))
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    rows = read_all(source(path, max_line_bytes=100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row.code for row in rows] == [None, "line_too_long", None]
    assert "40,000,009 bytes" in (rows[1].message or "")
    assert peak + pa.total_allocated_bytes() - before < 10e6


@pytest.mark.parametrize("suffix", PACKERS)
def test_errors_name_the_line_in_every_chunk_of_a_file(tmp_path: Path, suffix: str) -> None:
    lines = [b"", b'{"x": 1}', b"{", b"", b" ", b'{"x": 2}', b"[]", b'{"x": 3}', b"{", b"{"]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACKERS[suffix](b"\n".join(lines)))
    for chunk_rows in (1, 2, 3, 100):
        found = [(row.message or "").split(":")[0] for row in read_all(source(path), chunk_rows) if row.code]
        assert found == [f"a{suffix}, line {n} (row #{row})" for n, row in ((3, 1), (7, 3), (9, 5), (10, 6))]


def test_groups_keep_a_compressed_file_together(tmp_path: Path) -> None:
    reader = JsonLinesReader(source(tmp_path / "x.jsonl"))
    inputs = [InputFile("", name, 0, "", "") for name in ("a.jsonl.gz", "b.jsonl", "c.jsonl.zst")]
    ranges = [Range(file, i, i + 1, 1, i) for file in range(3) for i in range(70)]
    sizes = [(group[0].file, len(group)) for group in reader.group(inputs, ranges, 16)]
    assert sizes == [(0, 64), (0, 6), (1, 16), (1, 16), (1, 16), (1, 16), (1, 6), (2, 64), (2, 6)]


def test_a_group_decompresses_its_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"x": 1}\n' * 5000))
    planned = plan(source(path), 500)
    opened = []
    real = gzip.GzipFile
    monkeypatch.setattr(gzip, "GzipFile", lambda **how: opened.append(1) or real(**how))
    reader = open_source(source(path))
    assert sum(t.num_rows for t in reader.read(planned.inputs, planned.ranges[2:], None)) == 4000
    assert len(opened) == 1


def test_rows_travel_as_their_own_bytes(tmp_path: Path) -> None:
    line = b'{"b": 1.50, "a": "\\u00e9", "b": 2}'
    (tmp_path / "a.jsonl").write_bytes(line)
    planned = plan(source(tmp_path))
    (table,) = open_source(source(tmp_path)).read(planned.inputs, planned.ranges, ["a"])
    assert table.column("__json").to_pylist() == [line]
    assert orjson.loads(line) == {"b": 2, "a": "é"}


ROWS = ['{"id": "a", "q": 1}', '{"id": "b", "q": 2}', '{"id": "c", "q": 3}']


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" + ",\n".join(ROWS) + "]", r"a JSON array .*`jq -c '\.\[\]' FILE"),
        ("[" + ",\n".join(ROWS) + "\n]", "a JSON array"),
        ("[\n" + ",\n".join(ROWS) + "\n]\n", "a JSON array"),
        ("\n  [\n" + "\n,".join(ROWS * 20) + "\n]\n", "a JSON array"),
        ("[" + ", ".join(ROWS) + "]", "a JSON array"),
        ('{"rows": [\n' + ",\n".join(ROWS) + "\n]}", "a JSON object"),
        (json.dumps([json.loads(row) for row in ROWS], indent=2), "a JSON array"),
        ("\n".join(json.dumps(json.loads(row), indent=2) for row in ROWS), r"a JSON object .*`jq -c \. FILE"),
        ("\n".join(ROWS).encode("utf-16"), "is UTF-16, .*iconv -f UTF-16 -t UTF-8"),
        ("\n".join(ROWS).encode("utf-16-be"), "UTF-16BE"),
        ("\n".join(ROWS).encode("utf-16-le"), "UTF-16LE"),
        ("\n".join(ROWS).encode("utf-32"), "is UTF-32"),
        (gzip.compress("\n".join(ROWS).encode()), "compressed by gzip"),
    ],
)
def test_a_file_of_another_format_is_refused_with_the_reason(
    tmp_path: Path, text: str | bytes, why: str
) -> None:
    """Of an array over several lines the last element alone would pass for a row."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    for key in (None, "id"):
        with pytest.raises(SourceError, match=why):
            plan(source(path, key=key))


@pytest.mark.parametrize("first", ['[1, {"a": 2}', '{"id": "x",', '{"id": ["x', "[1, 2]", "[[", "[{}]", "{"])
def test_a_first_line_that_is_broken_or_no_object_costs_itself_only(tmp_path: Path, first: str) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join([first, *ROWS]))
    assert [row.code is None for row in read_all(source(tmp_path, key="id"))] == [False, True, True, True]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"é": "NaN", "q": NaN}', "NaN at character 19: no JSON, though Python writes it"),
        ('{"q": [1, Infinity]}', "Infinity at character 11"),
        ('{"q": -Infinity}', "-Infinity at character 7"),
        ('{"q": NaNo}', "unexpected character"),
        ('{"q": 1e400}', "infinity"),
    ],
)
def test_numbers_that_json_has_not_are_named(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join([ROWS[0], line]))
    row = read_all(source(tmp_path))[1]
    assert (row.id, row.code) == ("a.jsonl#1", "broken_json")
    assert (row.message or "").startswith("a.jsonl, line 2 (row #1): ")
    assert why in (row.message or "")


def test_integers_of_any_size_are_read_whole(tmp_path: Path) -> None:
    numbers = [12345678901234567890123, -9223372036854775809, 2**64, 2**63, int("7" * 4000)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"id": n, "q": [n, 0.5]}) for n in numbers))
    rows = read_all(source(tmp_path, key="id"))
    assert [row.id for row in rows] == [str(n) for n in numbers]
    assert [row.values["q"] for row in rows] == [[n, 0.5] for n in numbers]


def test_an_integer_beyond_all_bounds_fails_its_row_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(ROWS[0] + '\n{"q": ' + "1" * 5000 + "}")
    row = read_all(source(tmp_path))[1]
    assert row.code == "broken_json"
    assert "an integer of 5,000 digits; at most 4,300 are read" in (row.message or "")


def test_a_key_of_any_number_of_digits_is_its_digits(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 12345678901234567890123}\n{"id": -9223372036854775809}\n')
    rows = read_all(source(tmp_path / "a.jsonl", key="id"))
    assert [row.id for row in rows] == ["12345678901234567890123", "-9223372036854775809"]
