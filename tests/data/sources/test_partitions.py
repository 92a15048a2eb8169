"""Partitions: folders named `column=value` give columns, as text, where the files have none of that name."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.data.sources.base import rows_of
from raygen.data.sources.partitions import partitions_of
from raygen.errors import SourceError

USED = ["q", "lang", "year"]
FOLDERS = ("lang=en/year=2024", "lang=d%C3%A9/year=07", "lang=__HIVE_DEFAULT_PARTITION__/year=a=b")
READ = [("en", "2024"), ("dé", "07"), (None, "a=b")]


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://bucket/t/lang=en/year=2024/part-0.parquet", {"lang": "en", "year": "2024"}),
        ("/data/été=oui/x=1=2/a.csv", {"été": "oui", "x": "1=2"}),
        ("/data/a%3Db=c%2Fd/e.csv", {"a=b": "c/d"}),
        ("/data/a=%FF/e.csv", {"a": "%FF"}),  # no UTF-8: as it stands
        ("/data/a=1/a=2/e.csv", {"a": "2"}),
        ("/data/=x/a=/plain/k=v.csv", {"a": ""}),
        ("/data/a=__HIVE_DEFAULT_PARTITION__/e", {"a": None}),
    ],
)
def test_folders_name_columns(uri: str, found: dict[str, str | None]) -> None:
    assert partitions_of(uri) == found


def write(root: Path, kind: str, values: dict[str, str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(pa.table({name: [value] for name, value in values.items()}), root / "part-0.parquet")
    elif kind == "jsonl":
        (root / "part-0.jsonl").write_bytes(orjson.dumps(values))
    elif kind == "jsonl.gz":
        (root / "part-0.jsonl.gz").write_bytes(gzip.compress(orjson.dumps(values)))
    elif kind == "csv":
        (root / "part-0.csv").write_text(f"{','.join(values)}\n{','.join(values.values())}\n")
    else:
        (root / "part-0.txt").write_text(values["q"])


def read(root: Path, kind: str, used: list[str] = USED) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    source = Source(format=kind.partition(".")[0], uri=str(root))
    plan = open_source(source).plan(3, used)
    tables = list(open_source(source).read(plan.inputs, plan.ranges, used))
    return plan.columns, [row for table in tables for row in rows_of(table, used)]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz", "csv", "text"])
def test_used_names_of_folders_are_columns_of_text(tmp_path: Path, kind: str) -> None:
    for number, folder in enumerate(FOLDERS):
        write(tmp_path / folder, kind, {"q": str(number)})
    used = ["text" if kind == "text" else "q", "lang", "year"]
    columns, rows = read(tmp_path, kind, used)
    assert {name: columns[name] for name in used} == dict.fromkeys(used, pa.string())
    by_text = sorted(rows, key=lambda row: row[used[0]])
    assert [(row["lang"], row["year"]) for row in by_text] == READ


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_nobody_who_does_not_ask_gets_them(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "lang=en", kind, {"q": "x"})
    columns, rows = read(tmp_path, kind, ["q"])
    assert (list(columns), rows) == (["q"], [{"q": "x"}])


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_column_of_the_file_wins(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "lang=en", kind, {"q": "x", "lang": "de"})
    assert read(tmp_path, kind, ["q", "lang"])[1] == [{"q": "x", "lang": "de"}]


def test_a_broken_row_has_no_columns_of_its_folders(tmp_path: Path) -> None:
    (tmp_path / "lang=en").mkdir()
    (tmp_path / "lang=en/a.csv").write_text("q\nx\na,b\n")
    (tmp_path / "lang=en/b.jsonl").write_text('{"q": "x"}\n{\n')
    assert [row["lang"] for row in read(tmp_path / "lang=en/a.csv", "csv")[1]] == ["en", None]
    assert read(tmp_path / "lang=en/b.jsonl", "jsonl")[1] == [{"q": "x", "lang": "en"}, {}]


def test_a_folder_and_a_file_may_not_give_one_column_two_types(tmp_path: Path) -> None:
    for folder, values in (("year=2024", {"q": ["x"]}), ("more", {"q": ["y"], "year": [2025]})):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table(values), tmp_path / folder / "p.parquet")
    with pytest.raises(
        SourceError, match=r"year=2024/p\.parquet: column 'year' is string; in more/p\.parquet it is int64"
    ):
        read(tmp_path, "parquet")
    assert [row["q"] for row in read(tmp_path, "parquet", ["q"])[1]] == ["y", "x"]
