"""The reference pages, written from the code when the site is built: jobs, recipes, engines, outcomes, commands, codes, Python.

A page holds a mark such as `<!-- generated: job -->`; `PAGES` says what takes its place.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer.main
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]


def cell(text: str) -> str:
    """Return text that fits into a cell of a table."""
    text = " ".join(str(text).split())
    parts = re.split(r"(`[^`]+`)", text.replace("|", "\\|"))
    return "".join(
        part if part[:1] == "`" else part.replace("<", "&lt;").replace("*", "\\*") for part in parts
    )


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# Models of pydantic


def anchor(name: str) -> str:
    return re.sub(r"[^\w-]", "", name).lower()


def code(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def bounds(schema: dict[str, Any]) -> str:
    low = schema.get("minimum")
    above = schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    words = []
    if low is not None and high is not None:
        words.append(f"{low} to {high}")
    else:
        words += [f"at least {low}"] if low is not None else []
        words += [f"at most {high}"] if high is not None else []
    words += [f"above {above}"] if above is not None else []
    words += [f"below {below}"] if below is not None else []
    return ", ".join(words)


def kind(schema: dict[str, Any]) -> str:
    """Return what a value has to be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{anchor(name)})"
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            kinds = [kind(each) for each in schema[several] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    of = schema.get("type")
    if of == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(kind(each) for each in schema["prefixItems"]) + "]"
        return f"list of {kind(schema['items'])}" if schema.get("items") else "list"
    if of == "object":
        patterns = list(schema.get("patternProperties", {}).values())
        values = patterns[0] if patterns else schema.get("additionalProperties")
        return f"map of names to {kind(values)}" if isinstance(values, dict) and values else "map"
    name = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    limits = bounds(schema)
    return name.get(str(of), "any value") + (f", {limits}" if limits else "")


def default(name: str, schema: dict[str, Any], required: set[str]) -> str:
    if name in required:
        return "**required**"
    value = schema.get("default")
    if value is None or value == {} or value == [] or (isinstance(value, dict) and "$ref" in str(schema)):
        return ""
    return code(value)


def fields_of(schema: dict[str, Any], models: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{name}`",
            cell(kind(each)),
            default(name, each, required).replace("|", "\\|"),
            cell(words(each, models)),
        )
        for name, each in schema.get("properties", {}).items()
    ]
    return table(("key", "value", "unless given", "meaning"), rows)


def words(schema: dict[str, Any], models: Mapping[str, Any]) -> str:
    """Return what a key means: its own description, or the first sentence about the model that it holds."""
    text: str = schema.get("description", "")
    if not text and "$ref" in schema:
        text = models[schema["$ref"].rsplit("/", 1)[1]].get("description", "").split("\n\n")[0]
    if not text:
        inner = [each for several in ("anyOf", "oneOf", "allOf") for each in schema.get(several, ())]
        text = next(filter(None, (words(each, models) for each in inner)), "")
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+[ ,;]", text) else text


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the models that a schema refers to, in order."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rsplit("/", 1)[1]
        for key, each in schema.items():
            if key != "$defs":
                yield from references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from references(each)


def model_pages(model: type[BaseModel], level: int = 2) -> str:
    """Return a model's keys as a table, and then those of each model in it, as the reader meets them."""
    schema = model.model_json_schema()
    inner = schema.get("$defs", {})
    order, queue = [], list(references(schema))
    while queue:
        name = queue.pop(0)
        if name not in order:
            order.append(name)
            queue = [*references(inner[name]), *queue]
    out = [fields_of(schema, inner)]
    for name in order:
        part = inner[name]
        out.append(f"\n{'#' * level} {name} {{ #{anchor(name)} }}\n\n")
        if part.get("description"):
            out.append(paragraphs(part["description"]) + "\n\n")
        if "properties" in part:
            out.append(fields_of(part, inner))
        else:
            out.append(cell(kind(part)) + "\n")
    return "".join(out)


def paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def job() -> str:
    from raygen.program.job import Job

    return model_pages(Job)


def service() -> str:
    from raygen.serve.config import ServiceConfig

    return model_pages(ServiceConfig)


def recipe() -> str:
    from raygen.models.families import family_of, trained_families
    from raygen.train.families.lessons import objective_class
    from raygen.train.recipe import Recipe

    out = [model_pages(Recipe)]
    for name in trained_families():
        objective = objective_class(name)
        out.append(f"\n## Family {name}\n\n{paragraphs(family_of(name).__doc__ or '')}\n")
        for key, model in (("objective", objective), ("batch", objective.Batch)):
            out.append(f"\n### {key} of {name}\n\n{paragraphs(model.__doc__ or '')}\n\n")
            out.append(fields_of(model.model_json_schema(), {}))
    return "".join(out)


def engines() -> str:
    from raygen.engines import ENGINES, engine_facts

    out = []
    for name in ENGINES.own:
        facts = engine_facts(name)
        about = __import__((facts.engine or facts.__module__).partition(":")[0], fromlist=["x"]).__doc__ or ""
        out.append(f"## {name}\n\n{paragraphs(about).partition(chr(10))[0]}\n\n")
        rows = [
            (f"`{family}`", ", ".join(f"`{verb}`" for verb in sorted(verbs)))
            for family, verbs in facts.families.items()
        ]
        out.append(table(("family", "verbs"), rows) + "\n")
        schema = facts.Options.model_json_schema()
        if schema.get("properties"):
            out.append(fields_of(schema, schema.get("$defs", {})) + "\n")
    return "".join(out)


# JSON schemas, for editors


def job_schema() -> dict[str, Any]:
    """Return the schema of a job, with the options of each engine."""
    from raygen.engines import ENGINES, engine_facts
    from raygen.program.job import Job

    schema = Job.model_json_schema()
    kinds = {name: {"options": engine_facts(name).Options} for name in ENGINES.own}
    return by_kind(schema, schema["$defs"]["ModelSpec"], "engine", kinds)


def recipe_schema() -> dict[str, Any]:
    """Return the schema of a recipe, with the objective and the batch of each family."""
    from raygen.models.families import trained_families
    from raygen.train.families.lessons import objective_class
    from raygen.train.recipe import Recipe

    schema = Recipe.model_json_schema()
    kinds = {
        name: {"objective": objective_class(name), "batch": objective_class(name).Batch}
        for name in trained_families()
    }
    return by_kind(schema, schema, "family", kinds)


def by_kind(
    whole: dict[str, Any], part: dict[str, Any], key: str, kinds: Mapping[str, Mapping[str, type[BaseModel]]]
) -> dict[str, Any]:
    """Say in a schema what stands under some keys of a part of it, by the value of another key.

    Args:
        whole: the schema; models are added to its definitions.
        part: the model in it that has the keys.
        key: what decides, such as `engine`.
        kinds: value of `key` -> the keys that it decides, with what stands under them.
    """
    part["allOf"] = []
    for value, models in kinds.items():
        then = {}
        for name, model in models.items():
            part["properties"][name] = {
                "type": "object",
                "description": part["properties"][name].get("description", ""),
            }
            inner = model.model_json_schema(ref_template="#/$defs/{model}")
            whole["$defs"].update(inner.pop("$defs", {}))
            whole["$defs"][f"{name} of {value}"] = inner
            then[name] = {"$ref": f"#/$defs/{name} of {value}"}
        part["allOf"].append({"if": {"properties": {key: {"const": value}}}, "then": {"properties": then}})
    return whole


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "job.schema.json": job_schema,
    "recipe.schema.json": recipe_schema,
}


# Outcomes


def comments(path: Path) -> dict[str, dict[str, str]]:
    """Return what comments in a file say of the fields of its Arrow types: name of the type -> field -> words."""
    text = path.read_text()
    lines = text.splitlines()
    said: dict[str, dict[str, str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.AnnAssign):
            target, value = node.target, node.value
        elif isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
        else:
            continue
        if value is None or not isinstance(target, ast.Name):
            continue
        for each in ast.walk(value):
            name = None
            if isinstance(each, ast.Tuple) and each.elts:
                name = each.elts[0]
            elif isinstance(each, ast.Call) and each.args:
                name = each.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                said.setdefault(target.id, {})[name.value] = _comment(lines, each)
    return said


def _comment(lines: list[str], node: Any) -> str:
    after = lines[node.end_lineno - 1][node.end_col_offset :]
    for line in (after, *lines[node.lineno : node.end_lineno - 1]):
        if "#" in line:
            return line.partition("#")[2].strip()
    above: list[str] = []
    number = node.lineno - 2
    while number >= 0 and lines[number].strip().startswith("#"):
        above.insert(0, lines[number].strip().lstrip("# "))
        number -= 1
    return " ".join(above)


def arrow(of: pa.DataType, names: dict[str, str]) -> str:
    """Return an Arrow type in words; structs that have a section of their own as links."""
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        return f"list of {arrow(of.value_type, names)}"
    if pa.types.is_map(of):
        return f"map of {arrow(of.key_type, names)} to {arrow(of.item_type, names)}"
    if pa.types.is_struct(of):
        name = names.get(str(of))
        return (
            f"[{name}](#{anchor(name)})"
            if name
            else f"struct of {', '.join(f'`{each.name}`' for each in of)}"
        )
    return f"`{of}`"


def outcomes() -> str:
    from raygen.runs import outcome

    said = comments(Path(outcome.__file__))
    structs = {name: each for name, each in vars(outcome).items() if isinstance(each, pa.StructType)}
    title = {str(each): name.strip("_").lower().replace("_", "-") for name, each in structs.items()}
    rows = [
        (f"`{each.name}`", cell(arrow(each.type, title)), cell(said.get("FIELDS", {}).get(each.name, "")))
        for each in outcome.FIELDS
    ]
    head = ("column", "type", "meaning")
    out = [f"Schema version {outcome.SCHEMA_VERSION}.\n\n", table(head, rows)]
    for name, each in structs.items():
        rows = [
            (f"`{one.name}`", cell(arrow(one.type, title)), cell(said.get(name, {}).get(one.name, "")))
            for one in each
        ]
        out.append(f"\n## {title[str(each)]}\n\n{table(head, rows)}")
    return "".join(out)


# The command line


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command, by its whole name."""
    from raygen.cli.app import app

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        else:
            for each in inner:
                yield from walk(f"{name} {each}", inner[each])

    yield from walk("raygen", typer.main.get_command(app))


def cli() -> str:
    out = []
    for name, command in commands():
        context = command.make_context(name, [], resilient_parsing=True)
        out.append(f"## {name}\n\n```\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```\n\n")
        out.append(paragraphs(command.help or "") + "\n\n")
        records = [param.get_help_record(context) for param in command.params]
        rows = [(f"`{each[0]}`", cell(each[1])) for each in records if each is not None]
        if rows:
            out.append(table(("argument or option", "meaning"), rows) + "\n")
    return "".join(out)


def exit_codes() -> str:
    from raygen.cli.app import app

    epilog = str(app.info.epilog).partition(":")[2]
    rows = []
    for part in epilog.split("·"):
        number, _, meaning = part.strip().partition(" ")
        rows.append((f"`{number}`", cell(meaning)))
    return table(("code", "meaning"), rows)


def errors() -> str:
    import raygen.errors

    tree = (raygen.errors.__doc__ or "").split("\n\n", 1)[1]
    return f"```\n{tree.strip()}\n```\n"


def codes() -> str:
    from raygen.reports.remedies import OF_THE_INPUT, OTHERWISE, PASSING, REMEDIES

    rows = []
    for name in sorted({*REMEDIES, *PASSING, *OF_THE_INPUT}):
        again = (
            "`raygen retry`" if name in PASSING else "`raygen run --reuse`" if name in OF_THE_INPUT else ""
        )
        rows.append((f"`{name}`", cell(REMEDIES.get(name, OTHERWISE)), again))
    return table(("code", "what to do", "then"), rows)


# Python, and what the repository holds


# Rooms of what is public, by what a reader comes for.
USES = {
    "Runs and trainings": ("program", "pipeline", "runs", "review", "train", "improve"),
    "Engines": ("engines", "models", "usage"),
    "Steps, checks and scores": ("steps",),
    "Sources": ("data",),
    "Descriptions": ("config",),
    "Errors": ("errors",),
}


def api() -> str:
    """Return marks for mkdocstrings, one a public name. Keys of pydantic models are in the other pages, so methods suffice."""
    import raygen

    names = [name for name in raygen.__all__ if not name.startswith("__")]
    values = {name: getattr(raygen, name) for name in names}
    out = []
    for use, rooms in USES.items():
        here = {name: value for name, value in values.items() if value.__module__.split(".")[1] in rooms}
        out.append(f"## {use}\n\n" if here else "")
        for name, value in here.items():
            options: dict[str, Any] = {"heading": name, "heading_level": 3, "show_root_heading": True}
            if isinstance(value, type) and issubclass(value, BaseModel):
                functions = [each for each, what in vars(value).items() if inspect.isroutine(what)]
                options["members"] = [each for each in functions if not each.startswith("_")]
            place = f"{value.__module__}.{value.__qualname__}"
            out.append(f"::: {place}\n    options: {json.dumps(options)}\n\n")
    assert len(values) == "".join(out).count(":::"), "a public name has no use: see USES"
    return "".join(out)


def decisions() -> str:
    lines = []
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        title = path.read_text().splitlines()[0].lstrip("# ")
        number, _, words_of_it = title.partition(". ")
        lines.append(f"{int(number)}. [{words_of_it}]({path.name})")
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "job": job,
    "recipe": recipe,
    "service": service,
    "engines": engines,
    "outcomes": outcomes,
    "cli": cli,
    "exit-codes": exit_codes,
    "errors": errors,
    "codes": codes,
    "api": api,
    "decisions": decisions,
}


def filled(markdown: str) -> str:
    """Return a page with what is generated in the place of its marks."""
    return re.sub(
        r"<!-- generated: ([\w-]+) -->(?:\n\(.*\)$)?",
        lambda mark: PAGES[mark[1]](),
        markdown,
        flags=re.MULTILINE,
    )
