"""Preparation: what becomes of every row, and that how it is cut up does not matter."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from raygen.errors import ConfigError, SourceError
from raygen.models import families
from raygen.storage import LocalStore, Store
from raygen.train.families.base import SPLITS
from raygen.train.families.text_units import UNITS
from raygen.train.loop.feed import read_blocks
from raygen.train.prepare import origins
from raygen.train.prepare.prepare import prepare
from raygen.train.prepare.prepared import Prepared
from raygen.train.prepare.spread import in_process
from raygen.train.prepare.text_rows import split_of
from raygen.train.recipe import Recipe


@pytest.fixture(autouse=True)
def whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families.CausalLM, "trainer", "tests.train.whole_words:WholeWords")
    monkeypatch.setattr(families.Classifier, "trainer", "tests.train.whole_words:LabelledWords")


def write(path: Path, rows: list[Any]) -> dict[str, Any]:
    path.write_bytes(b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows))
    return {"format": "jsonl", "uri": str(path), "key": "id"}


def recipe_of(source: dict[str, Any], **changes: Any) -> Recipe:
    whole = {
        "name": "t",
        "family": "causal_lm",
        "base": "./base",
        "source": source,
        "objective": {"text": "{{ text }}"},
        "preparation": {"validation": 0.2},
        "batch": {"tokens": 64, "micro_tokens": 64, "max_tokens": 32},
    }
    return Recipe.model_validate({**whole, **changes})


LABELLED = {"family": "classifier", "objective": {"text": "{{ text }}", "label": "label"}}


def prepared_of(recipe: Recipe, folder: Path, **options: Any) -> tuple[Prepared, Store]:
    store = LocalStore(str(folder))
    return prepare(recipe, folder.parent, store, say=lambda line: None, spread=in_process, **options), store


def examples_of(prepared: Prepared, store: Store, split: str) -> dict[str, tuple[list[int], list[int]]]:
    """Return row id -> tokens and targets, unpacked again."""
    found: dict[str, tuple[list[int], list[int]]] = {}
    for units in read_blocks(prepared, split, range(len(prepared.blocks[split])), store):
        for unit in units.to_pylist():
            assert sum(unit["lengths"]) == len(unit["input_ids"])
            start = 0
            for place, (row_id, length) in enumerate(zip(unit["row_ids"], unit["lengths"], strict=True)):
                targets = unit["targets"]
                mine = (
                    targets[start : start + length]
                    if len(targets) > len(unit["lengths"])
                    else targets[place:][:1]
                )
                assert row_id not in found
                found[row_id] = (unit["input_ids"][start : start + length], mine)
                start += length
    return found


def many(number: int = 300) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "text": " ".join(f"w{n}_{i}" for i in range(1 + n % 30))} for n in range(number)]


def test_every_row_becomes_one_example_of_its_split(tmp_path: Path) -> None:
    rows = many()
    prepared, store = prepared_of(recipe_of(write(tmp_path / "s.jsonl", rows)), tmp_path / "run")
    for split in ("train", "validation"):
        wanted = {row["id"] for row in rows if split_of(row["id"], 0.2, 0.0) == split}
        found = examples_of(prepared, store, split)
        assert set(found) == wanted
        assert prepared.counts[split] == len(wanted)
        for row_id, (tokens, targets) in found.items():
            assert len(tokens) == 1 + int(row_id[1:]) % 30
            assert targets == [-100, *tokens[1:]]
    assert prepared.blocks["test"] == []
    assert prepared.counts["rows"] == 300
    assert not list(store.list("prepared/parts/"))


def test_blocks_say_what_they_hold(tmp_path: Path) -> None:
    prepared, store = prepared_of(recipe_of(write(tmp_path / "s.jsonl", many())), tmp_path / "run")
    blocks = prepared.blocks["train"]
    units = list(read_blocks(prepared, "train", range(len(blocks)), store))
    for block, table in zip(blocks, units, strict=True):
        assert table.schema == UNITS
        lengths = [len(ids) for ids in table.column("input_ids").to_pylist()]
        assert (block.units, block.cost) == (len(lengths), len(lengths) * max(lengths))
        assert block.cost <= 64
        assert block.weight == sum(t != -100 for each in table.column("targets").to_pylist() for t in each)
    assert any(len(each) > 1 for table in units for each in table.column("row_ids").to_pylist())


def test_a_second_preparation_finds_the_first(tmp_path: Path) -> None:
    recipe = recipe_of(write(tmp_path / "s.jsonl", many()))
    first, _ = prepared_of(recipe, tmp_path / "run")
    (tmp_path / "s.jsonl").unlink()
    second, _ = prepared_of(recipe, tmp_path / "run")
    assert second == first


def test_what_a_killed_preparation_left_is_removed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "run"))
    store.put("prepared/parts/old.arrows", b"x")
    store.put("prepared/train-old.parquet", b"x")
    refused = recipe_of(write(tmp_path / "s.jsonl", many()), objective={"text": "{{ txt }}"})
    with pytest.raises(ConfigError):
        prepared_of(refused, tmp_path / "run")
    assert not list(store.list("prepared/"))
    store.put("prepared/train-older.parquet", b"x")
    prepared, _ = prepared_of(recipe_of(write(tmp_path / "s.jsonl", many())), tmp_path / "run")
    keys = {info.key for info in store.list("prepared/")}
    assert keys == {*prepared.shards["train"], *prepared.shards["validation"], "prepared/prepared.json"}


def test_the_digest_tells_contents_apart(tmp_path: Path) -> None:
    recipe = recipe_of(write(tmp_path / "s.jsonl", many()))
    first, _ = prepared_of(recipe, tmp_path / "a")
    again, _ = prepared_of(recipe, tmp_path / "b")
    other, _ = prepared_of(recipe.model_copy(update={"seed": 1}), tmp_path / "c")
    assert first.digest == again.digest
    assert first.blocks == again.blocks
    assert other.digest != first.digest


def test_many_buckets_give_the_same_examples_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = many(600)
    rows += [{"id": f"again{n}", "text": rows[n]["text"]} for n in range(200)]
    augmentation = {"copies": 2, "delete_words": 0.3, "columns": ["text"]}
    recipe = recipe_of(
        write(tmp_path / "s.jsonl", rows), augmentation=augmentation,
        preparation={"validation": 0.2, "test": 0.1},
    )  # fmt: skip
    one, one_store = prepared_of(recipe, tmp_path / "one")
    monkeypatch.setattr(origins, "RANGE_ROWS", 7)
    cut, cut_store = prepared_of(recipe, tmp_path / "many", budget_bytes=20_000)
    assert len(one.shards["train"]) == 1
    assert len(cut.shards["train"]) > 5
    assert cut.counts == one.counts
    for split in SPLITS:
        assert examples_of(cut, cut_store, split) == examples_of(one, one_store, split)


def test_alike_rows_stay_where_they_are_judged(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"text {n}"} for n in range(100)]
    tested = [{"id": f"t{n}", "text": f"text {n}"} for n in range(0, 50)]
    watched = [{"id": f"v{n}", "text": f"text {n}"} for n in range(40, 60)]
    rows.append({"id": "twice", "text": "text  99"})
    recipe = recipe_of(
        write(tmp_path / "s.jsonl", rows),
        test_source=write(tmp_path / "t.jsonl", tested),
        validation_source=write(tmp_path / "v.jsonl", watched),
        preparation={"validation": 0},
    )
    prepared, store = prepared_of(recipe, tmp_path / "run")
    assert set(examples_of(prepared, store, "test")) == {f"t{n}" for n in range(50)}
    assert set(examples_of(prepared, store, "validation")) == {f"v{n}" for n in range(50, 60)}
    assert set(examples_of(prepared, store, "train")) == {f"r{n}" for n in range(60, 100)}
    assert prepared.counts["duplicates"] == 10 + 60 + 1
    kept, _ = prepared_of(
        recipe.model_copy(
            update={"preparation": recipe.preparation.model_copy(update={"deduplicate": False})}
        ),
        tmp_path / "kept",
    )
    assert kept.counts["train"] == 101


def test_one_text_with_two_labels_stays_in_training_and_leaves_it_when_tested(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"text {n // 2}", "label": "ab"[n % 2]} for n in range(40)]
    tested = [{"id": "t", "text": "text 3", "label": "a"}]
    recipe = recipe_of(
        write(tmp_path / "s.jsonl", rows), test_source=write(tmp_path / "t.jsonl", tested),
        validation_source=write(tmp_path / "v.jsonl", [{"id": "v", "text": "new", "label": "b"}]),
        preparation={"validation": 0}, **LABELLED,
    )  # fmt: skip
    prepared, store = prepared_of(recipe, tmp_path / "run")
    assert set(examples_of(prepared, store, "train")) == {f"r{n}" for n in range(40) if n // 2 != 3}


def test_changed_copies_stay_in_training_and_never_meet_a_test(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"The Text {n} ends"} for n in range(200)]
    tested = [{"id": f"t{n}", "text": f"the text {n} ends"} for n in range(100)]
    recipe = recipe_of(
        write(tmp_path / "s.jsonl", rows),
        test_source=write(tmp_path / "t.jsonl", tested),
        augmentation={"copies": 2, "lower_case": True, "columns": ["text"]},
    )
    for name, budget in (("one", 2**26), ("many", 10_000)):
        prepared, store = prepared_of(recipe, tmp_path / name, budget_bytes=budget)
        train = examples_of(prepared, store, "train")
        rows_kept = {row_id for row_id in train if "~" not in row_id}
        # Both copies of a row come out alike: one stays, and none whose text is tested.
        assert {row_id for row_id in train if "~" in row_id} == {
            f"{r}~1" for r in rows_kept if int(r[1:]) >= 100
        }
        assert prepared.counts["augmented"] == len(train) - len(rows_kept)
        assert all("~" not in row_id for row_id in examples_of(prepared, store, "validation"))


def test_a_copy_that_changed_nothing_is_no_copy(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"{'Aa'[n % 2]} text {n}"} for n in range(100)]
    recipe = recipe_of(
        write(tmp_path / "s.jsonl", rows),
        preparation={"validation": 0.2, "deduplicate": False},
        augmentation={"copies": 1, "lower_case": True, "columns": ["text"]},
    )
    prepared, store = prepared_of(recipe, tmp_path / "run")
    copies = {row_id for row_id in examples_of(prepared, store, "train") if "~" in row_id}
    assert len(copies) == prepared.counts["augmented"] > 30
    assert all(int(row_id[1:-2]) % 2 == 0 for row_id in copies)


def test_no_copy_of_a_dropped_row_stays(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"The Text {n}"} for n in range(60)]
    recipe = recipe_of(
        write(tmp_path / "s.jsonl", rows),
        test_source=write(tmp_path / "t.jsonl", [{**row, "id": row["id"] + "t"} for row in rows[:50]]),
        augmentation={"copies": 1, "lower_case": True, "columns": ["text"]},
    )
    for name, budget in (("one", 2**26), ("many", 5_000)):
        prepared, store = prepared_of(recipe, tmp_path / name, budget_bytes=budget)
        assert {int(row_id[1:].split("~")[0]) for row_id in examples_of(prepared, store, "train")} <= set(
            range(50, 60)
        )


def test_rows_that_fail_are_counted_and_listed(tmp_path: Path) -> None:
    rows: list[Any] = many(100)
    rows[3] = {"id": "empty", "text": None}
    rows[7] = {"id": "long", "text": "word " * 33}
    rows[9] = b'{"id": "r9", "text"'
    recipe = recipe_of(write(tmp_path / "s.jsonl", rows), preparation={"validation": 0.2, "max_broken": 0.02})
    prepared, _ = prepared_of(recipe, tmp_path / "run")
    assert (prepared.counts["broken"], prepared.counts["too_long"]) == (2, 1)
    assert [each["code"] for each in prepared.broken] == ["missing_value", "broken_json"]
    assert prepared.broken[0]["row_id"] == "empty"


def test_a_template_that_prints_lists_is_refused_before_any_row_is_read(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": [{"role": "user", "content": "x"}]} for n in range(4)]
    with pytest.raises(
        ConfigError, match=r"objective\.text: 'text' holds lists, not text: chat messages go in"
    ):
        prepared_of(recipe_of(write(tmp_path / "s.jsonl", rows)), tmp_path / "run")


def test_a_column_of_tools_that_nobody_reads_is_told_once(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "chat": f"[{n}]", "tools": "[]", "text": "x"} for n in range(40)]
    source = write(tmp_path / "s.jsonl", rows)

    def said(**objective: Any) -> list[str]:
        told: list[str] = []
        recipe = recipe_of(source, objective=objective)
        store = LocalStore(str(tmp_path / str(len(objective))))
        with contextlib.suppress(SourceError):  # these words are no chats
            prepare(recipe, tmp_path, store, say=told.append, spread=in_process)
        return [line for line in told if "tools" in line]

    assert said(messages="chat") == [
        "source has a column 'tools' beside 'chat', and the recipe does not read it: `objective.tools: tools` tells the model "
        "of the tools"
    ]
    assert said(messages="chat", tools="tools") == said(text="{{ text }}") == []


def test_too_many_broken_rows_stop_it_and_are_named(tmp_path: Path) -> None:
    rows = many(100)
    for n in range(0, 100, 10):
        rows[n]["text"] = ""
    with pytest.raises(
        SourceError, match=r"10 of 100 rows are broken.*max_broken = 0.01.*r0 \(missing_value: no text\); r10"
    ):
        prepared_of(recipe_of(write(tmp_path / "s.jsonl", rows)), tmp_path / "run")
    assert Prepared.load(LocalStore(str(tmp_path / "run"))) is None


def test_an_empty_split_says_what_became_of_the_rows(tmp_path: Path) -> None:
    source = write(tmp_path / "s.jsonl", [{"id": f"r{n}", "text": "word " * 40} for n in range(20)])
    with pytest.raises(
        SourceError, match=r"train split is empty: 20 rows make 0 train.*20 of more than 32 tokens"
    ):
        prepared_of(recipe_of(source), tmp_path / "run")
    source = write(tmp_path / "few.jsonl", many(3))
    with pytest.raises(
        SourceError, match=r"validation split is empty: 3 rows make 3 train.*preparation\.validation"
    ):
        prepared_of(recipe_of(source, preparation={"validation": 0}), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": {"text": "{{ txt }}"}},
            r"objective\.text: source .* no column 'txt' \(did you mean 'text'\?\)",
        ),
        ({**LABELLED}, r"objective\.label: source .* no column 'label'"),
        (
            {"augmentation": {"copies": 1, "typos": 0.1, "columns": ["n"]}},
            r"'n' of source is int64; only text",
        ),
        ({"objective": {"text": "{{ text "}}, r"objective\.text: line 1 of the template"),
    ],
)
def test_what_the_source_cannot_give_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    source = write(tmp_path / "s.jsonl", [{**row, "n": 1} for row in many(20)])
    with pytest.raises(ConfigError, match=message):
        prepared_of(recipe_of(source, **changes), tmp_path / "run")


def test_a_source_beside_it_has_to_have_the_columns_too(tmp_path: Path) -> None:
    recipe = recipe_of(
        write(tmp_path / "s.jsonl", many(20)),
        test_source=write(tmp_path / "t.jsonl", [{"id": "t", "words": "x"}]),
    )
    with pytest.raises(
        ConfigError, match=r"objective\.text: test_source .* no column 'text'.*columns in its first rows"
    ):
        prepared_of(recipe, tmp_path / "run")


def test_labels_are_found_or_given(tmp_path: Path) -> None:
    rows = [{**row, "label": "yes" if n % 3 else "no"} for n, row in enumerate(many(100))]
    source = write(tmp_path / "s.jsonl", rows)
    found, store = prepared_of(recipe_of(source, **LABELLED), tmp_path / "found")
    assert found.labels == ("no", "yes")
    assert Prepared.load(store) == found
    targets = Counter(label for _, (label,) in examples_of(found, store, "train").values())
    assert set(targets) == {0, 1}
    objective = {**LABELLED["objective"], "labels": ["yes", "no"]}
    given, _ = prepared_of(recipe_of(source, family="classifier", objective=objective), tmp_path / "given")
    assert given.labels == ("yes", "no")
    objective["labels"] = ["yes", "maybe"]
    with pytest.raises(SourceError, match=r"34 of 100 rows are broken.*unknown_label"):
        prepared_of(recipe_of(source, family="classifier", objective=objective), tmp_path / "wrong")


def test_labels_may_stand_inside_a_column_or_in_the_names_of_folders(tmp_path: Path) -> None:
    rows = [{**row, "meta": {"label": n % 2}} for n, row in enumerate(many(60))]
    source = write(tmp_path / "s.jsonl", rows)
    plain, store = prepared_of(
        recipe_of(
            write(tmp_path / "p.jsonl", [{**row, "label": row["meta"]["label"]} for row in rows]), **LABELLED
        ),
        tmp_path / "plain",
    )
    wanted = examples_of(plain, store, "train")
    inside = {**LABELLED, "objective": {"text": "{{ text }}", "label": "meta.label"}}
    prepared, store = prepared_of(recipe_of(source, **inside), tmp_path / "inside")
    assert (prepared.labels, examples_of(prepared, store, "train")) == (plain.labels, wanted)
    for label in (0, 1):
        (tmp_path / f"in/label={label}").mkdir(parents=True)
        write(tmp_path / f"in/label={label}/s.jsonl", [row for row in rows if row["meta"]["label"] == label])
    prepared, store = prepared_of(
        recipe_of({**source, "uri": str(tmp_path / "in")}, **LABELLED), tmp_path / "folders"
    )
    assert examples_of(prepared, store, "train") == wanted
    assert prepared.labels == ("0", "1")


def test_a_column_of_anything_is_no_label(tmp_path: Path) -> None:
    rows = [{"id": f"{n}", "text": "x", "label": f"l{n}"} for n in range(1100)]
    with pytest.raises(ConfigError, match=r"objective\.label: column 'label' holds more than 1000 different"):
        prepared_of(recipe_of(write(tmp_path / "s.jsonl", rows), **LABELLED), tmp_path / "run")


def test_progress_ends_at_all_rows(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    recipe = recipe_of(write(tmp_path / "s.jsonl", many(200)))
    prepared_of(recipe, tmp_path / "run", progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (200, 200)
    assert seen == sorted(seen)


def test_the_day_of_preparing_is_kept_where_the_base_prints_one(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", many(30))
    assert prepared_of(recipe_of(rows), tmp_path / "text")[0].date is None
    recipe = recipe_of(rows, objective={"prompt": "{{ text }}", "completion": "{{ text }}"})
    assert prepared_of(recipe, tmp_path / "plain")[0].date is None
    (tmp_path / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}")
    today = {datetime.now(UTC).date()}
    found, store = prepared_of(recipe, tmp_path / "dated")
    today.add(datetime.now(UTC).date())
    assert found.date in {str(day) for day in today}
    assert Prepared.load(store) == found
    said, _ = prepared_of(recipe.model_copy(update={"date": date(2026, 1, 31)}), tmp_path / "said")
    assert said.date == "2026-01-31"
