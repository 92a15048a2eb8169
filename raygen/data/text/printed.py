"""Printed: what a template prints has to be text as it is. What Python would write for a list, an object or NaN is refused."""

from __future__ import annotations

import datetime
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pyarrow as pa
from jinja2 import Environment, Undefined, nodes

from raygen.errors import ConfigError, RowError

# True and False are printed as Jinja prints them: words that are read alike by people and models. `| tojson` prints `true`.
_PLAIN = (str, numbers.Number, datetime.date, datetime.time, datetime.timedelta, UUID, Undefined)
PRINTED, EACH_PRINTED = (
    "__printed",
    "__each_printed",
)  # filters that `guard` puts in; a template may use them, too
# Filters that make text of whatever they get, by Python's `str`.
_TEXT_FILTERS = frozenset(
    {
        "capitalize", "center", "e", "escape", "forceescape", "format", "indent", "lower", "replace", "safe", "string",
        "striptags", "title", "trim", "truncate", "upper", "urlize", "wordcount", "wordwrap",
    }
)  # fmt: skip
_KINDS = {
    list: "a list",
    tuple: "a list",
    set: "a list",
    dict: "an object",
    bytes: "bytes",
    bytearray: "bytes",
}


def printed(value: Any, name: str = "a value") -> Any:
    """Return what a template prints, if it is text, a number, true or false, a date, or a time.

    Args:
        name: of what is printed, for the error.

    Raises:
        RowError: `missing_value`, it is null or NaN; `not_text`, Python would print its own notation for it.
    """
    if value is None:
        raise RowError("missing_value", f"{name} is null in this row")
    if isinstance(value, float) and math.isnan(value):
        raise RowError("missing_value", f"{name} is NaN (no number) in this row")
    if isinstance(value, _PLAIN):
        return value
    kind = next((words for each, words in _KINDS.items() if isinstance(value, each)), None)
    raise RowError(
        "not_text", f"{name} holds {kind or f'a {type(value).__name__}'}, not text; {_way_out(name, value)}"
    )


def each_printed(values: Any, name: str = "a value") -> Any:
    """Return what is joined, if every part of it may be printed. Raises RowError, as `printed` does."""
    if isinstance(values, str | Undefined) or values is None:
        return printed(values, name)
    return [printed(value, f"a part of {name}") for value in values]


def formatted(given: Any) -> None:
    """Check what `"..." % given` puts into a text. Raises RowError."""
    for value in given if isinstance(given, tuple) else [given]:
        if not isinstance(value, dict):  # of named places: "%(name)s"
            printed(value)


def guard(tree: nodes.Template, environment: Environment) -> None:
    """Let a parsed template print nothing unchecked: where it prints, joins with `~`, or calls a filter that makes text."""
    for output in list(tree.find_all(nodes.Output)):
        output.nodes = [
            each if isinstance(each, nodes.TemplateData) else _checked(each, environment)
            for each in output.nodes
        ]
    for joined in list(tree.find_all(nodes.Concat)):
        joined.nodes = [_checked(each, environment) for each in joined.nodes]
    for used in list(tree.find_all(nodes.Filter)):
        if used.node is None:  # of a block: `{% filter upper %}`
            continue
        if used.name in _TEXT_FILTERS:
            used.node = _checked(used.node, environment)
            if used.name == "format":
                used.args = [_checked(each, environment) for each in used.args]
        elif used.name == "join" and len(used.args) < 2 and not used.kwargs:
            used.node = _checked(used.node, environment, EACH_PRINTED)


def bare_paths(tree: nodes.Template) -> list[tuple[str, ...]]:
    """Return what a template prints in every row just as it is: columns, or fields of columns (`body.messages`)."""
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    found = []
    for output in tree.body:  # not those within conditions and loops
        for each in output.nodes if isinstance(output, nodes.Output) else ():
            path = _path(each)
            if path and path[0] not in own:
                found.append(path)
    return found


def check_printable(paths: Sequence[tuple[str, ...]], where: str, columns: Mapping[str, pa.DataType]) -> None:
    """Refuse a template that prints a column of lists or objects as it is.

    Args:
        paths: of `bare_paths`. where: the job's key for the template. columns: of the source.

    Raises:
        ConfigError: every row would fail.
    """
    for path in paths:
        kind = columns.get(path[0])
        for name in path[1:]:
            place = kind.get_field_index(name) if kind is not None and pa.types.is_struct(kind) else -1
            kind = kind.field(place).type if kind is not None and place >= 0 else None
        if kind is not None and pa.types.is_nested(kind):
            name = ".".join(path)
            what = "objects" if pa.types.is_struct(kind) or pa.types.is_map(kind) else "lists"
            way = _way_out(name, _example(kind))
            if where in ("objective.prompt", "objective.completion"):
                way = way.replace(
                    f"`messages: {name}`", "`messages: [PROMPT, COMPLETION]`, the names of two columns,"
                )
            raise ConfigError(f"{where}: {name!r} holds {what}, not text: {way}")


def _example(kind: pa.DataType) -> Any:
    """Return a value of a type: empty, or a message if it is a list of such."""
    if pa.types.is_struct(kind):
        return {}
    values = kind.value_type if not pa.types.is_map(kind) else pa.null()
    is_chat = pa.types.is_struct(values) and values.get_field_index("role") >= 0
    return [{"role": ""}] if is_chat else []


def _way_out(name: str, value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return "pictures go beside the prompt: `images: [COLUMN]`"
    if isinstance(value, list) and value and isinstance(value[0], dict) and "role" in value[0]:
        column = name.strip("'") if name.strip("'").replace(".", "").isidentifier() else "COLUMN"
        return f"chat messages go in whole: `messages: {column}` instead of a template; `| tojson` prints them as JSON"
    if isinstance(value, list | tuple | dict):
        return "`| tojson` prints it as JSON, a loop its parts, `| join(', ')` a list of texts"
    return "print a text or a number"


def _checked(node: nodes.Expr, environment: Environment, name: str = PRINTED) -> nodes.Filter:
    what = nodes.Const(_named(node), lineno=node.lineno)
    made = nodes.Filter(node, name, [what], [], None, None, lineno=node.lineno)
    made.set_environment(environment)
    return made


def _named(node: nodes.Expr) -> str:
    """Return what an expression is about, for an error."""
    path = _path(node)
    if path:
        return f"{'.'.join(path)!r}"
    names = list(dict.fromkeys(name.name for name in _names(node)))
    return f"what is made of {', '.join(map(repr, names))}" if names else "a value"


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
    if isinstance(node, nodes.Name):
        yield node
    yield from node.find_all(nodes.Name)


def _path(node: nodes.Node) -> tuple[str, ...]:
    """Return the names of `a.b["c"]`; () for anything else. A check, or a filter that makes text, changes nothing."""
    if isinstance(node, nodes.Filter) and node.node is not None and node.name in {PRINTED, *_TEXT_FILTERS}:
        return _path(node.node)
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        before, name = _path(node.node), node.attr
    elif (
        isinstance(node, nodes.Getitem)
        and isinstance(node.arg, nodes.Const)
        and isinstance(node.arg.value, str)
    ):
        before, name = _path(node.node), node.arg.value
    else:
        return ()
    return (*before, name) if before else ()
