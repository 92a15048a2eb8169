"""Trace tree: a row's story drawn as a tree, for a terminal or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

import orjson

from raygen.data.text.messages import told_calls
from raygen.formatting import as_text, count, visible
from raygen.json_text import write_json
from raygen.review.beside import beside, medium
from raygen.review.show import plain, shown
from raygen.usage import unit_of

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

PIPE_WIDTH = 120  # columns, where nothing says how wide it is
MOST = 20_000  # characters of one text
SHORT = 48  # characters of a step's setting that are named beside it
STATUS_STYLES = {"accepted": "bold green", "rejected": "bold yellow", "failed": "bold red"}
WORD_STYLES = {
    3: "black on green",
    2: "green bold",
    1: "green",
    -1: "red",
    -2: "red bold",
    -3: "white on red",
}


def print_trace(trace: Mapping[str, Any], as_json: bool, file: IO[str] | None = None) -> None:
    """Print a story (`trace_row`): as a tree, or as one JSON object. What it holds may be hostile: it stays text."""
    file = file or sys.stdout
    if as_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        file.write(write_json(trace, default=plain, option=options).decode() + "\n")
        return
    from rich.console import Console

    width = None if file.isatty() else PIPE_WIDTH
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(tree_of(trace))


def tree_of(trace: Mapping[str, Any]) -> Tree:
    """Lay a trace out as a tree for the terminal."""
    from rich.tree import Tree

    status = trace["status"]
    head = _text(trace["row_id"], "bold").append("  ").append(status, STATUS_STYLES.get(status, ""))
    if trace["reason"]:
        head.append(f" ({visible(trace['reason'])})")
    tree = Tree(head, guide_style="dim")
    for note in trace["notes"]:
        tree.add(_text(f"note: {note}", "italic"))
    if trace["error"]:
        error = trace["error"]
        tree.add(_text(f"failed in {error['step']}: {error['code']}: {error['message']}", "red"))
    values = trace["input"] if trace["input"] is not None else trace["kept"]
    if values:
        _fields(tree.add(_text("input" if trace["input"] is not None else "kept columns", "bold")), values)
    fates = _fates(trace)
    texts = {
        each["sample"]: each["made"]["text"]
        for block in trace["steps"]
        for each in block["decisions"]
        if "made" in each
    }
    for block in trace["steps"]:
        _block(tree, block, values or {}, fates, texts)
    for key, said in (("nothing_to_do", "steps that had nothing to do"), ("not_reached", "not reached")):
        if trace[key]:
            tree.add(_text(f"{said}: {', '.join(trace[key])}", "dim"))
    if trace["variables"]:
        _fields(tree.add(_text("variables", "bold")), trace["variables"])
    _lineage(tree.add(_text("lineage", "bold")), trace)
    return tree


def _text(value: Any, style: str = "") -> Text:
    from rich.text import Text

    return Text(shown(value if isinstance(value, str) else as_text(value), MOST), style)


def _fields(tree: Tree, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        tree.add(_text(f"{name}: ", "cyan").append_text(_text(value, "not bold default")))


def _fates(trace: Mapping[str, Any]) -> dict[int, str]:
    """Return what became of each sample, in a word."""
    found: dict[int, str] = {}
    for block in trace["steps"]:
        for each in block["decisions"]:
            if each["sample"] is None:
                continue
            if "made" in each:
                found[each["sample"]] = "kept" if each["made"]["kept"] else "put aside"
            if each["rejected"]:
                found[each["sample"]] = f"rejected: {each['decision']}"
    return found


def _block(
    tree: Tree,
    block: Mapping[str, Any],
    values: Mapping[str, Any],
    fates: Mapping[int, str],
    texts: Mapping[int, str | None],
) -> None:
    head = _text(block["step"], "bold")
    if about := _about(block):
        head.append(f"  {visible(about)}", "dim")
    if block["again"]:
        head.append("  (again)", "dim")
    if block["attempt"]:
        head.append(f"  (attempt {block['attempt'] + 1} at the row)", "dim")
    branch = tree.add(head)
    shown: set[int] = set()
    prompts = list(block["prompts"])
    for decision in block["decisions"]:
        asked = next((each for each in prompts if decision["sample"] in each["samples"]), None)
        if "made" in decision and asked is not None and id(asked) not in shown:
            shown.add(id(asked))
            _prompt(branch, asked)
        if "made" in decision:
            _sample(branch, decision, fates)
        else:
            _decision(branch, decision, values, texts.get(decision["sample"]))
    for prompt in prompts:
        if id(prompt) not in shown:
            _prompt(branch, prompt)


def _about(block: Mapping[str, Any]) -> str:
    """Name a step's verb and its short settings."""
    verb, config = block["verb"], block["config"]
    if verb is None:
        return ""
    if len(config) == 1 and isinstance(inner := next(iter(config.values())), dict):
        verb, config = f"{verb} {next(iter(config))}", inner
    rendered = {f"render.{name}": str(value) for name, value in (config.get("render") or {}).items()}
    short = [
        f"{name}={value}"
        for name, value in {**config, **rendered}.items()
        if isinstance(value, bool | int | float)
        or (isinstance(value, str) and len(value) <= SHORT and "{{" not in value and "\n" not in value)
    ]
    return " ".join([verb, *short])


def _prompt(tree: Tree, prompt: Mapping[str, Any]) -> None:
    adapter = f", adapter {prompt['adapter']}" if prompt["adapter"] else ""
    doubt = (
        "" if prompt["proven"] else " (not proven)" if prompt["proven"] is None else " (NOT what was sent)"
    )
    tools = f", with {count(len(prompt['tools']), 'tool')}" if prompt["tools"] else ""
    kept_to = f", to be of a {next(iter(prompt['constraint']))}" if prompt["constraint"] else ""
    branch = tree.add(_text(f"asked {prompt['model']}{adapter}{tools}{kept_to}{doubt}", "blue"))
    for message in prompt["messages"]:
        said = message.get("content")
        said = (
            "\n".join([*([said] if said else []), *told_calls(message)])
            if not isinstance(said, list)
            else said
        )
        branch.add(_text(f"{message.get('role')}: ", "cyan").append_text(_text(said, "not bold default")))


def _sample(tree: Tree, decision: Mapping[str, Any], fates: Mapping[int, str]) -> None:
    made, number = decision["made"], decision["sample"]
    usage = made["usage"] or {}
    said = [
        f"sample {number}"
        if decision["decision"] in ("generated", "refined")
        else f"sample {number}, {decision['decision']}",
        *([f"mends sample {made['mends']}"] if made["mends"] is not None else []),
        f"seed {made['seed']}",
        str(made["finish_reason"]),
        *([count(tokens, "token")] if (tokens := usage.get("output_tokens")) is not None else []),
        *(unit_of(unit).words(amount) for unit, amount in dict(usage.get("units") or ()).items()),
        *([f"answer {made['answer']}"] if made["answer"] is not None else []),
        *([decision["detail"]] if decision["detail"] else []),
    ]
    fate = fates.get(number, "")
    branch = tree.add(
        _text(" · ".join(said)).append(f"  [{visible(fate)}]", "green" if fate == "kept" else "yellow")
    )
    if made["because"]:
        branch.add(_text(f"because of sample {made['mends']}: {made['because']}", "italic"))
    branch.add(_text((made["text"] or "(empty)") if made["text"] is not None else medium(made)))
    for name, words in beside(made):
        branch.add(_text(f"{name}: ", "cyan").append_text(_text(words, "not bold default")))


def _decision(tree: Tree, decision: Mapping[str, Any], values: Mapping[str, Any], sample: str | None) -> None:
    about = "" if decision["sample"] is None else f"sample {decision['sample']}: "
    head = _text(about).append(visible(decision["decision"]), "yellow" if decision["rejected"] else "green")
    if decision["sample"] is None:
        head.stylize("red")
    if decision["scores"]:
        head.append("  " + visible(", ".join(_scores(decision["scores"]))))
    if decision["detail"]:
        head.append(f"  {visible(decision['detail'])}", "italic")
    if decision["model"]:
        head.append(f"  by {visible(decision['model'])}", "dim")
    branch = tree.add(head)
    if "hypothesis" in decision and "attribution" not in decision:
        premises = decision["premises"]
        column = next((name for name, value in values.items() if [value] == premises), None)
        whole = f"column {column}" if column else premises[0] if len(premises) == 1 else None
        branch.add(_text(f"premise: {whole or f'{len(premises)} parts of a text, each by itself'}", "dim"))
        if decision["hypothesis"] != sample:
            branch.add(_text(f"hypothesis: {decision['hypothesis']}", "dim"))
    if "attribution" in decision:
        _attribution(branch, decision["attribution"])


def _scores(scores: Mapping[str, float | None]) -> Iterable[str]:
    return (f"{name} {'–' if value is None else f'{value:.4g}'}" for name, value in scores.items())


def _attribution(tree: Tree, found: Mapping[str, Any]) -> None:
    """Words behind a verdict, coloured on a terminal and marked anywhere: [+] speaks for the label, [-] against it."""
    from rich.text import Text

    from raygen.metrics.attribution import HYPOTHESIS, PREMISE, level, spans_of

    branch = tree.add(
        _text(
            f"{found['label']} {found['probability']:.3f}, {found['baseline']:.3f} with every word hidden; "
            f"words that speak for it [+], against it [-]; they add up but for {abs(found['delta']):.4f}"
        )
    )
    words = found["words"]
    largest = max((abs(word["score"]) for word in words), default=0.0)
    for part in (PREMISE, HYPOTHESIS):
        line = Text(f"{part}: ", "cyan")
        places = [(word["start"], word["end"], word["score"]) for word in words if word["part"] == part]
        for text, score in spans_of(found[part], places):
            strength = level(score, largest)
            marks = f"[{('+' if strength > 0 else '-') * abs(strength)}]" if strength else ""
            line.append(visible(text) + marks, WORD_STYLES.get(strength, "not bold default"))
        branch.add(line)


def _lineage(tree: Tree, trace: Mapping[str, Any]) -> None:
    lineage = trace["lineage"]
    for model in lineage["models"]:
        names = ("ref", "digest", "adapter", "engine", "engine_version", "dtype")
        known = [f"{name.replace('_', ' ')} {model[name]}" for name in names if model[name]]
        tree.add(_text(f"{model['name']}: ", "cyan").append_text(_text(", ".join(known), "not bold default")))
    others = {
        "run": f"{trace['run']}, chunk {trace['chunk']}",
        "run seed": str(lineage["run_seed"]),
        "config": lineage["config_hash"],
        "machine": ", ".join(filter(None, (lineage["machine"], lineage.get("yardstick")))),
        "raygen": f"{lineage['raygen_version']}, schema {lineage['schema_version']}",
    }
    _fields(tree, {name: value for name, value in others.items() if value})
