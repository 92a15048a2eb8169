"""Every page is true: examples are valid and run, commands parse, links lead somewhere, codes and reasons are the code's.

A block of YAML is a job, a recipe or a part of one; a line that begins with `raygen` is a command. What is neither stands
after a line `<!-- fragment -->`; a service's file after `<!-- service -->` (tests/serve/test_serving_page.py).
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from raygen.program.job import Job
from raygen.reports.remedies import REMEDIES
from raygen.runs.outcome import OWN_COLUMNS, SAMPLE
from raygen.train.recipe import Recipe
from tests.steps.scripted import Writer, job_of, run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDES = sorted(path for path in DOCS.glob("*.md") if path.name not in ("log.md", "map.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
]
FENCE = re.compile(r"(<!-- (?:fragment|service) -->\n\n?)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
REST: dict[str, Any] = {
    "name": "example",
    "source": {"format": "jsonl", "uri": "rows.jsonl"},
    "models": {"writer": {"family": "causal_lm", "engine": "echo"}},
    "steps": [{"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 4}}],
}
REST_OF_RECIPE: dict[str, Any] = {
    "name": "example",
    "family": "causal_lm",
    "base": "./base",
    "objective": {"text": "{{ text }}"},
    "source": {"format": "jsonl", "uri": "rows.jsonl"},
}
OF_RECIPES = {"base", "ema", "objective", "optimizer", "trained", "preparation"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's blocks of a language, without those that are marked as fragments."""
    found = FENCE.findall(page.read_text())
    return [text for fragment, of, text in found if of == language and not fragment]


def examples(language: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in (ROOT / "README.md", *GUIDES)
        for number, block in enumerate(blocks(page, language))
    ]


@pytest.mark.parametrize("block", examples("yaml"))
def test_each_example_is_a_valid_job_or_recipe_or_a_part_of_one(block: str) -> None:
    given = yaml.safe_load(block)
    if isinstance(given, list):
        given = {"steps": [*REST["steps"], *given]}
    if OF_RECIPES & set(given):
        Recipe.model_validate({**REST_OF_RECIPE, **given})
    else:
        models = {**REST["models"], **given.get("models", {})}
        Job.model_validate({**REST, **given, "models": models})


@pytest.mark.parametrize("block", examples("json"))
def test_each_line_of_json_is_json(block: str) -> None:
    for line in block.splitlines():
        json.loads(line)


def commands() -> Iterator[Any]:
    """Yield the commands on all pages: those in blocks, which are whole, and those in sentences, which may be parts."""
    for page in PAGES:
        if page == DOCS / "log.md":
            continue  # what was measured then, with the commands of then
        text = page.read_text()
        lines = [line for of in ("", "sh") for block in blocks(page, of) for line in block.splitlines()]
        for whole, several in (
            (True, lines),
            (False, re.findall(r"`(raygen [^`\n]+)`", FENCE.sub("", text))),
        ):
            for line in several:
                for call in line.partition(" #")[0].split("&&"):
                    call = call.strip().removeprefix("$ ")
                    if re.match(r"raygen [a-z]", call):
                        yield pytest.param(call, whole, id=f"{page.stem}: {call}")


@pytest.mark.parametrize(("call", "whole"), {each.id: each for each in commands()}.values())
def test_each_command_is_one_that_raygen_takes(call: str, whole: bool) -> None:
    call = re.sub(r"[\[\]]|\.\.\.", "", call)  # [--json]
    call = re.sub(r"([\w-]+)(?:\\?\|[\w-]+)+", r"\1", call)  # jsonl|parquet: the first
    assert parses(shlex.split(call)[1:], whole), call


def parses(words: list[str], whole: bool = True) -> bool:
    """Does the command line take these words?

    Args:
        whole: false: it may lack arguments, and `NAME` may stand for a command.
    """
    command = the_command()
    while inner := getattr(command, "commands", None):
        if not words or (not whole and words[0].isupper()):
            return not whole
        if words[0] not in inner:
            return False
        command, words = inner[words[0]], words[1:]
    try:
        command.make_context("raygen", list(words))
    except Exception as error:  # noqa: BLE001 - typer brings a click of its own, or not
        return not whole and type(error).__name__ in ("MissingParameter", "BadOptionUsage")
    return True


@cache
def the_command() -> Any:
    import typer.main

    from raygen.cli.app import app

    return typer.main.get_command(app)


def test_a_command_that_raygen_does_not_take_is_noticed() -> None:
    assert parses(["run", "JOB", "--max-rows", "3"])
    assert parses(["models", "list"])
    assert not parses(["run", "JOB", "--max-rowz", "3"])
    assert not parses(["models", "lost"])
    assert not parses(["run"])
    assert parses(["run", "--inline"], whole=False)
    assert not parses(["run", "--outline"], whole=False)


def test_every_command_is_on_the_page_of_runs() -> None:
    page = (DOCS / "runs.md").read_text()
    command = the_command()
    for name, inner in command.commands.items():
        for each in (f"{name} {one}" for one in inner.commands) if hasattr(inner, "commands") else (name,):
            assert f"`raygen {each}" in page, each


def test_make_targets_and_scripts_that_are_named_exist() -> None:
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for page in (ROOT / "README.md", *GUIDES):
        text = page.read_text()
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, flags=re.MULTILINE):
            assert target in targets, f"{name_of(page)}: make {target}"
        for script in re.findall(r"^python ([\w./]+\.py)", text, flags=re.MULTILINE):
            assert (ROOT / script).is_file(), f"{name_of(page)}: {script}"


def test_the_first_run_goes_as_the_page_says(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS / "index.md"
    monkeypatch.chdir(tmp_path)
    rows = blocks(page, "json")[0]
    Path("rows.jsonl").write_text(rows)
    Path("first.yaml").write_text(blocks(page, "yaml")[0])
    run_it, show, verify = next(block for block in blocks(page, "") if "first.yaml" in block).splitlines()
    done = cli(*run_it.split()[1:], "-q")
    assert done.code == 3, done.err
    shown = cli(*show.split()[1:]).out
    assert shown.count("accepted") == 2
    assert "missing_value" in shown
    assert cli(*verify.split()[1:]).code == 0
    Path("rows.jsonl").write_text(rows.replace("null", '"Snow is white."'))
    again = re.search(r"`(raygen run first.yaml[^`]*)`", page.read_text())
    assert again
    done = cli(*again[1].split()[1:], "-q")
    assert done.code == 0, done.err
    assert "3 accepted" in done.out
    assert "2 of 3" in done.out + done.err or "reused" in done.out + done.err


def test_reading_a_finished_run_in_python_works(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raygen.runs.view import RunView

    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"text": "a"}\n')
    Path("job.yaml").write_text(yaml.safe_dump(REST))
    assert cli("run", "job.yaml", "--inline", "-q", "--output", "runs/python-docs-questions").code == 0
    monkeypatch.setattr(RunView, "to_ray", lambda self: None)  # tests/ray has it
    (code,) = blocks(DOCS / "runs.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "runs.md", "exec"), names)
    assert [row["status"] for row in names["run"].rows()] == ["accepted"]


def test_reading_pictures_in_python_works(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"text": "a"}\n')
    painter = {"family": "diffusion", "engine": "echo"}
    step = {"generate": {"model": "painter", "prompt": "{{ text }}", "render": {}}}
    Path("job.yaml").write_text(yaml.safe_dump({**REST, "models": {"painter": painter}, "steps": [step]}))
    assert cli("run", "job.yaml", "--inline", "-q", "--output", "runs/pictures").code == 0
    (code,) = blocks(DOCS / "outcomes.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "outcomes.md", "exec"), names)
    assert names["data"].startswith(b"\x89PNG")


@pytest.fixture
def house_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write a module of the name that the pages use, where raygen finds it."""

    def write(code: str) -> None:
        assert code.startswith("# house_rules.py")
        (tmp_path / "house_rules.py").write_text(code)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        sys.modules.pop("house_rules", None)
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("house_rules", None)


def test_the_step_of_ones_own_does_what_the_page_says(house_rules: Callable[[str], None]) -> None:
    house_rules(blocks(DOCS / "own.md", "python")[0])
    texts = ["a b c", "a b new", "quite other words"]
    found = run(
        job_of(
            {"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 3}},
            *yaml.safe_load(blocks(DOCS / "own.md", "yaml")[0]),
        ),
        Writer(lambda prompt, number: texts[number]),
        text="a b c d",
    )
    assert [sample["text"] for sample in found.samples] == [texts[2]]
    assert sorted(sample["text"] for sample in found.discarded) == texts[:2]
    assert "it repeats the passage" in str(found.attempts)


def test_the_check_of_ones_own_does_what_the_page_says(house_rules: Callable[[str], None]) -> None:
    house_rules(blocks(DOCS / "checks.md", "python")[0])
    (check,) = (block for block in blocks(DOCS / "checks.md", "yaml") if "house_rules" in block)
    texts = ["come in", "please come in"]
    found = run(
        job_of(
            {"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 2}}, *yaml.safe_load(check)
        ),
        Writer(lambda prompt, number: texts[number]),
        text="a",
    )
    assert [sample["text"] for sample in found.samples] == [texts[1]]
    assert "it never says please" in str(found.attempts)


def test_the_engine_of_ones_own_does_what_the_page_says(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = blocks(DOCS / "own.md", "python")[2]
    assert code.startswith("# my_package/mirror.py")
    (tmp_path / "mirror_of_the_page.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    Path("rows.jsonl").write_text('{"text": "one two three"}\n')
    models = {"writer": {"family": "causal_lm", "engine": "mirror_of_the_page:Mirror"}}
    Path("job.yaml").write_text(yaml.safe_dump({**REST, "models": models}))
    assert cli("run", "job.yaml", "--inline", "-q", "--output", "runs/mirror").code == 0
    assert "three two one" in cli("show", "runs/mirror").out


def test_every_block_of_python_is_run_by_a_test_here() -> None:
    assert {name_of(page): len(blocks(page, "python")) for page in PAGES if blocks(page, "python")} == {
        "README.md": 1,  # by tests/serve/test_serving_page.py
        "docs/batches.md": 2,  # by tests/serve/batches/test_page.py
        "docs/checks.md": 1,
        "docs/outcomes.md": 1,  # by tests/pipeline/test_media.py
        "docs/own.md": 3,  # the second one by tests/pages/test_project_pages.py
        "docs/runs.md": 1,
        "docs/serving.md": 1,  # by tests/serve/test_serving_page.py
    }


def test_every_remedy_stands_on_the_page_of_outcomes() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", (DOCS / "outcomes.md").read_text(), re.MULTILINE)
    told = {code: words.replace("\\|", "|") for code, words in rows}
    # The page may go on after a remedy: what else leads out of it.
    assert [
        code for code, words in REMEDIES.items() if not told.get(code, "").startswith(words.rstrip("."))
    ] == []


def codes_given(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the code of every `RowError("code", ...)` below a directory, with its file."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="RowError"), args=[ast.Constant(value=str(code)), *_]):
                    yield path, code


def test_every_code_of_a_row_stands_on_a_page() -> None:
    pages = {"": (DOCS / "outcomes.md").read_text(), "train": (DOCS / "training.md").read_text()}
    given = list(codes_given(ROOT / "raygen"))
    assert len(given) > 50
    silent = {
        f"{code} of {path.relative_to(ROOT)}"
        for path, code in given
        if f"\n| `{code}` |" not in pages[""]
        and not ("train" in path.parts and f"\n| `{code}` |" in pages["train"])
    }
    assert silent == set()


def test_the_columns_of_outcomes_are_on_the_page() -> None:
    page = (DOCS / "outcomes.md").read_text().split("## Rejected")[0]
    named = set(re.findall(r"`(\w+)`", page))
    assert set(OWN_COLUMNS) <= named
    assert {"text", "reasoning", "refusal", "tool_calls"} <= named & {each.name for each in SAMPLE}


def test_every_reason_of_the_page_is_one_that_the_code_gives() -> None:
    page = (DOCS / "outcomes.md").read_text().split("## Failed")[0]
    reasons = {
        name
        for first in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", first)
    }
    code = "".join(path.read_text() for path in (ROOT / "raygen").rglob("*.py"))
    assert len(reasons) > 15
    assert [name for name in sorted(reasons) if f'"{name}"' not in code] == []


def test_every_reason_of_a_check_is_on_the_page() -> None:
    page = (DOCS / "outcomes.md").read_text()
    for path in (ROOT / "raygen" / "steps" / "checks").glob("*.py"):
        for reason in re.findall(r'^    reason = "(\w+)"', path.read_text(), re.MULTILINE):
            assert f"`{reason}`" in page, f"{reason} of {path.name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.is_file(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{name_of(page)}: {target}"


@cache
def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading.partition(" {")[0]).lower().replace(" ", "-") for heading in headings
    }
