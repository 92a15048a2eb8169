from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.errors import SourceError
from raygen.storage import digest_input, find_inputs
from tests.data.reading import PROPERTY, Row, plan, read_all


def source(path: Path, **more: object) -> Source:
    return Source.model_validate({"format": "csv", "uri": str(path), **more})


def test_rows_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\r\n1,"a ""b"",\r\nc"\r\n\r\n2,\r\n3,5" pipe')
    assert read_all(source(path)) == [
        Row("a.csv#0", None, None, {"id": "1", "text": 'a "b",\r\nc'}),
        Row("a.csv#1", None, None, {"id": "2", "text": ""}),
        Row("a.csv#2", None, None, {"id": "3", "text": '5" pipe'}),
    ]
    planned = plan(source(path))
    assert planned.columns == {"id": pa.string(), "text": pa.string()}
    assert not planned.sampled
    rows = read_all(source(path), columns=["text", "other"])
    assert rows[1].values == {"text": "", "other": None}


FIELD = st.text(st.sampled_from('ab",\n\r é'), max_size=5)


@PROPERTY
@given(
    st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(FIELD, min_size=width, max_size=width), max_size=25)
    ),
    st.integers(1, 7),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([".csv", ".csv.gz"]),
)
def test_reads_what_csv_writes(
    rows: list[list[str]], chunk_rows: int, line_end: str, quoting: int, suffix: str
) -> None:
    if (
        line_end == "\n"
    ):  # csv.writer leaves a bare \r unquoted then, and no reader can tell it from a line's end
        rows = [[field.replace("\r", "") for field in row] for row in rows]
    header = [f"c{i}" for i in range(len(rows[0]) if rows else 2)]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end, quoting=quoting).writerows([header, *rows])
    data = text.getvalue().encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        path.write_bytes(gzip.compress(data) if suffix == ".csv.gz" else data)
        found = read_all(source(path), chunk_rows)
    assert [list(row.values.values()) for row in found] == rows
    assert [row.id for row in found] == [f"a{suffix}#{i}" for i in range(len(rows))]


def test_every_kind_of_broken_record_costs_its_own_line_only(tmp_path: Path) -> None:
    broken = {
        b"1": "broken_csv",
        b"1,2,3": "broken_csv",
        b'"never closed,2': "broken_csv",
        b'1,"closed"too early': "broken_csv",
        b"\xff,2": "wrong_encoding",
        b"1," + b"x" * 3000: "line_too_long",
    }
    good = b'7,"two\nlines, ""quoted"""'
    path = tmp_path / "a.csv"
    path.write_bytes(b"\n".join([b"a,b"] + [line for bad in broken for line in (good, bad)]))
    rows = read_all(source(path, max_line_bytes=2000))
    assert [row.code for row in rows] == [code for bad in broken for code in (None, broken[bad])]
    assert all(row.values == {"a": "7", "b": 'two\nlines, "quoted"'} for row in rows if row.code is None)
    assert rows[3].message == "a.csv, line 7 (row #3): 3 fields; the header has 2"


@PROPERTY
@given(st.lists(st.sampled_from(["1,2", '"', '1,"', '",2', '"a"b,1', '1,"x', 'y",2', "", "1"]), max_size=12))
def test_stray_quotes_never_break_chunks_apart(lines: list[str]) -> None:
    """However records are put together, ranges give the same rows as the whole does, and every line counts once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text("\n".join(["a,b", *lines]))
        whole = read_all(source(path), 100)
        assert read_all(source(path), 1) == read_all(source(path), 2) == whole
        assert len(whole) <= len([line for line in lines if line])


def test_an_open_quote_does_not_swallow_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n"oops,1\n' + "".join(f"{i},x\n" for i in range(5000)))
    rows = read_all(source(path, max_line_bytes=1024), 1000)
    assert [row.code for row in rows] == ["broken_csv"] + [None] * 5000


def test_a_quoted_field_over_the_limit_is_not_taken_for_good(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,"' + "x\n" * 700 + '"\n2,y\n')
    assert [row.code for row in read_all(source(path))] == [None, None]
    rows = read_all(source(path, max_line_bytes=1024), 100)
    assert {row.code for row in rows[:-1]} == {"broken_csv"}
    assert rows[-1].values == {"a": "2", "b": "y"}


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,b\nx,1\n"y",2\nz\n')
    assert [row.id for row in read_all(source(path, key="id"))] == ["x", "y", "a.csv#2"]
    path.write_text("id,b\nx,1\ny,2\nx,3\n")
    with pytest.raises(SourceError, match=r"'x' \(a\.csv row 0 and a\.csv row 2\)"):
        plan(source(path, key="id"))
    path.write_text("id,b\nx,1\n,2\n")
    with pytest.raises(SourceError, match=r"a\.csv, line 3: the key column 'id' is null or empty"):
        plan(source(path, key="id"))
    with pytest.raises(SourceError, match="no column 'c'; columns: id, b"):
        plan(source(path, key="c"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a,a\n1,2\n", "occur twice: a"),
        ("a,__row_id\n1,2\n", "taken .*: __row_id"),
        ('a,"b\n1,2\n', "the header cannot be read"),
    ],
)
def test_unfit_headers_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        plan(source(tmp_path))


def test_files_have_one_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",b\n1,2\n")
    (tmp_path / "b.csv").write_text(",b\n3,4\n")
    rows = read_all(source(tmp_path))
    assert [row.values for row in rows] == [{"unnamed_0": "1", "b": "2"}, {"unnamed_0": "3", "b": "4"}]
    (tmp_path / "b.csv").write_text("b,c\n3,4\n")
    with pytest.raises(SourceError, match=r"b\.csv: its columns \(b, c\) differ from those of a\.csv"):
        plan(source(tmp_path))


def test_digest_is_right_though_the_header_is_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,2\n" * 200_000)
    ((store, info),) = find_inputs(str(path))
    planned = plan(source(path), 50_000)
    assert planned.inputs[0].digest == digest_input(store, info)
    tables = open_source(source(path)).read(planned.inputs, planned.ranges, ["b"])
    assert sum(table.num_rows for table in tables) == 200_000


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_errors_name_the_last_line_of_their_record(tmp_path: Path, chunk_rows: int) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n1,"x\ny"\n\n1\n2,"never closed\n3,4\n5\n')
    found = [(row.message or "").split(":")[0] for row in read_all(source(path), chunk_rows) if row.code]
    assert found == ["a.csv, line 5 (row #1)", "a.csv, line 6 (row #2)", "a.csv, line 8 (row #4)"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "^", "]", " "])
@given(
    rows=st.lists(st.lists(st.text(st.sampled_from('ab",\n\r ;\t|^]')), min_size=2, max_size=2), min_size=1)
)
@PROPERTY
def test_other_delimiters_are_read_as_they_are_written(delimiter: str, rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_bytes(text.getvalue().encode())
        found = read_all(source(path, csv={"delimiter": delimiter}))
    assert [list(row.values.values()) for row in found] == rows


@pytest.mark.parametrize("escape", ["\\", "^"])
@given(rows=st.lists(st.lists(st.text(st.sampled_from('ab",\n\r \\^')), min_size=2, max_size=2), min_size=1))
@PROPERTY
def test_escaped_quotes_are_read_as_they_are_written(escape: str, rows: list[list[str]]) -> None:
    def quoted(field: str) -> str:
        return '"' + field.replace(escape, 2 * escape).replace('"', f'{escape}"') + '"'

    text = "".join(f"{','.join(map(quoted, row))}\r\n" for row in [["a", "b"], *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_bytes(text.encode())
        found = read_all(source(path, csv={"escape": escape}))
    assert [list(row.values.values()) for row in found] == rows


def test_with_an_escape_doubled_quotes_are_read_too_and_it_means_nothing_outside_quotes(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text('a,b\n"say ""x""",C:\\new\n"a\\\nb","\\\\"\n')
    rows = read_all(source(tmp_path / "a.csv", csv={"escape": "\\"}))
    assert [row.values for row in rows] == [{"a": 'say "x"', "b": "C:\\new"}, {"a": "a\nb", "b": "\\"}]


def test_a_line_of_empty_fields_between_tabs_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\tb\n\t\n \n1\t2\n")
    rows = read_all(source(tmp_path / "a.csv", csv={"delimiter": "\t"}))
    assert [row.values for row in rows] == [{"a": "", "b": ""}, {"a": "1", "b": "2"}]


def test_files_without_a_header_get_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf1,x\n2,y\n3\n")
    rows = read_all(source(tmp_path / "a.csv", key="id", csv={"header": ["id", "q"]}))
    assert [(row.id, row.values) for row in rows[:2]] == [
        ("1", {"id": "1", "q": "x"}),
        ("2", {"id": "2", "q": "y"}),
    ]
    assert rows[2].message == "a.csv, line 3 (row #2): 1 fields; the header has 2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"csv": {"delimiter": ";;"}}, "one ASCII character"),
        ({"csv": {"delimiter": '"'}}, "one ASCII character"),
        ({"csv": {"delimiter": "\\t"}}, "in double quotes"),
        ({"csv": {"escape": '"'}}, "one ASCII character"),
        ({"csv": {"header": []}}, "header"),
        ({"csv": {"sep": ";"}}, "sep"),
        ({"csv": {}, "format": "jsonl"}, "only of format csv, not jsonl"),
    ],
)
def test_unfit_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source(Path("a.csv"), **options)


@pytest.mark.parametrize(("first", "hints"), [("1,alpha", True), ("-2.5,beta", True), ("ident,text", False)])
def test_a_first_line_that_looks_like_a_row_hints_at_the_header(
    tmp_path: Path, first: str, hints: bool
) -> None:
    (tmp_path / "a.csv").write_text(f"{first}\n2,beta\n")
    with pytest.raises(SourceError, match=r"no column 'id'") as found:
        read_all(source(tmp_path / "a.csv", key="id"))
    assert ("source.csv.header" in str(found.value)) == hints


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_a_file_of_one_column_with_the_key_in_its_name_hints_at_the_delimiter(
    tmp_path: Path, sign: str
) -> None:
    (tmp_path / "a.csv").write_text(f"id{sign}q\n1{sign}2\n")
    with pytest.raises(SourceError, match=r"no column 'id'; columns: .*source\.csv\.delimiter"):
        plan(source(tmp_path / "a.csv", key="id"))
    with pytest.raises(SourceError, match=r"no column 'q'; columns: .*source\.csv\.delimiter"):
        open_source(source(tmp_path / "a.csv")).plan(3, ["q"])


def test_lines_that_end_in_cr_alone_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,q\ra,one\rb,two\r")
    with pytest.raises(SourceError, match=r"a\.csv: its lines end in a carriage return alone \(CR\)"):
        plan(source(tmp_path / "a.csv"))


def two_headers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,q,old\n1,x,o\n")
    (tmp_path / "b.csv").write_text("new,q,id,new\nn,y,2,n\n")


def test_files_may_differ_in_columns_that_nobody_uses(tmp_path: Path) -> None:
    two_headers(tmp_path)
    reader = open_source(source(tmp_path, key="id"))
    planned = reader.plan(5, ["q"])
    tables = open_source(source(tmp_path, key="id")).read(planned.inputs, planned.ranges, ["q"])
    assert [(t["__row_id"].to_pylist(), t["q"].to_pylist()) for t in tables] == [
        (["1"], ["x"]),
        (["2"], ["y"]),
    ]


@pytest.mark.parametrize(("used", "lacks"), [("old", "it lacks old"), ("new", "occur twice: new")])
def test_files_may_not_differ_in_those_that_somebody_uses(tmp_path: Path, used: str, lacks: str) -> None:
    two_headers(tmp_path)
    with pytest.raises(SourceError, match=rf"b\.csv: .*{lacks}"):
        open_source(source(tmp_path)).plan(5, ["q", used])
