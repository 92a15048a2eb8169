"""YAML files into validated models: safe loader, `--set a.b=c` overrides, errors that name file, key and what is allowed."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from raygen.config.base import is_number, is_unicode
from raygen.config.one_of import OneOf
from raygen.config.purpose import Purpose, check_purpose
from raygen.errors import ConfigError

MAX_FILE_BYTES = 2**20
MAX_VALUES = 100_000  # aliases let a small file describe billions of values
Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that is given twice (YAML would keep the last one silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge":
                key = self.construct_object(key_node, deep=True)
                if isinstance(key, list | dict) or key in seen:
                    raise ConfigError(
                        f"line {key_node.start_mark.line + 1}: key {key!r} is given twice or is no name"
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """Read YAML into plain data. Raises ConfigError, with the place."""
    try:
        # _Loader derives from SafeLoader: plain data only.
        value = yaml.load(text, Loader=_Loader)  # noqa: S506
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if _count_values(value, {}) > MAX_VALUES:
        raise ConfigError(f"{where}: more than {MAX_VALUES:,} values once its aliases are followed")
    return _writable(value, where)


def _writable(value: Any, where: str) -> Any:
    if (found := next(_unwritable(value), None)) is not None:
        raise ConfigError(": ".join(filter(None, (where, *found))))
    return value


def _unwritable(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield where a value stands that a plan, which is JSON, cannot hold; and why."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _unwritable(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        yield place, "a number of more than 64 bits"
    elif isinstance(value, str) and not is_unicode(value):
        yield place, "half of a surrogate pair, which is no character"


def _count_values(value: Any, known: dict[int, int]) -> int:
    if not isinstance(value, list | dict):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_VALUES + 1  # a value that holds itself
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count_values(each, known) for each in inner)
    return known[id(value)]


def read_config(
    path: str | Path, model: type[Model], overrides: Sequence[str] = (), purpose: Purpose | None = None
) -> Model:
    """Read and validate a YAML file.

    Args:
        overrides: `path.to.field=value` each; the value is YAML, or a template as it stands;
            lists are addressed by number (`steps.0.generate.samples=4`).
        purpose: what the file has to describe; one of another command is refused as such.

    Raises:
        ConfigError: one line that names the file, the key, what was given and what is allowed.
    """
    value = read_mapping(path)
    if purpose is not None:
        check_purpose(value, purpose, str(path))
    return validate(override(value, overrides), model, str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of keys and values. Raises ConfigError: one line that names the file."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the file: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: {len(data):,} bytes; a configuration has at most {MAX_FILE_BYTES:,}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    value = parse_yaml(text, str(path))
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected keys and values such as `name: my-job`, found {_kind(value)}")
    return value


def override(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of plain data with `path=value` overrides applied. Raises ConfigError."""
    config = copy.deepcopy(config)
    for each in overrides:
        _apply(config, each)
    return config


def validate(value: Any, model: type[Model], where: str) -> Model:
    """Validate plain data. Raises ConfigError, one line, naming `where` and the key."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, model)}") from None


def validate_part(value: Any, model: type[Model]) -> Model:
    """Validate a part whose model is known only while the whole is validated, such as a family's part of a recipe.

    Raises:
        ValidationError: for pydantic to say where; an unknown key is named with the keys that are allowed.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines: list[InitErrorDetails] = []
        for found in error.errors(include_url=False):
            kind: str | PydanticCustomError = found["type"]
            if kind == "extra_forbidden":
                _, _, said = _unknown_key(found["loc"], model).partition(": ")
                kind = PydanticCustomError("value_error", "{said}", {"said": said})
            lines.append(
                {"type": kind, "loc": found["loc"], "input": found["input"], "ctx": found.get("ctx", {})}
            )
        raise ValidationError.from_exception_data(model.__name__, lines) from None


def _is_template(text: str) -> bool:
    """Whether a setting is a template as it stands: YAML would make mappings of `{{ x }}` and of `Question: {{ x }}`.

    In quotes, a list or a mapping, YAML reads it as it is meant.
    """
    begin = text.lstrip()
    if begin.startswith(("{{", "{%")):
        return True
    return ("{{" in text or "{%" in text) and not begin.startswith(("{", "[", "'", '"'))


def _apply(config: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {setting!r}: expected path=value, such as source.max_rows=20")
    value = _writable(text, f"--set {path}") if _is_template(text) else parse_yaml(text, f"--set {path}")
    *parents, last = _keys_in(path, config)
    here: Any = config
    for part in parents:
        if isinstance(here, dict):
            if here.get(part) is None:
                here[part] = {}
            here = here[part]
        elif isinstance(here, list) and is_number(part) and int(part) < len(here):
            here = here[int(part)]
        else:
            raise ConfigError(f"--set {path}: there is no {part!r} to set a value in")
    if isinstance(here, dict):
        here[last] = value
    elif isinstance(here, list) and is_number(last) and int(last) < len(here):
        here[int(last)] = value
    else:
        raise ConfigError(f"--set {path}: there is no {last!r} to set")


def _keys_in(path: str, config: dict[str, Any]) -> list[str]:
    """Cut a path at its dots, but for those of a key that is there: `their_package.checks:Calm`."""
    keys: list[str] = []
    here: Any = config
    while True:
        named = here if isinstance(here, dict) else {}
        dotted = [key for key in named if isinstance(key, str) and f"{path}.".startswith(f"{key}.")]
        key = max(dotted, key=len) if dotted else path.partition(".")[0]
        keys.append(key)
        if len(key) == len(path):
            return keys
        path = path[len(key) + 1 :]
        within = isinstance(here, list) and is_number(key) and int(key) < len(here)
        here = here[int(key)] if within else named.get(key)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Put the first errors of a validation in one line: the key, what was given, what is allowed."""
    lines = []
    # A list whose only item is wrong is also reported as too short: the item's own error says it better.
    details = error.errors(include_url=False)
    details = [each for each in details if each["type"] != "too_short"] or details
    for found in details[:3]:
        where = ".".join(str(part) for part in found["loc"])
        if found["type"] == "extra_forbidden":
            lines.append(_unknown_key(found["loc"], model))
        elif found["type"] == "missing":
            lines.append(f"{where}: missing; it has to be given")
        elif found["type"] == "value_error":
            message = found["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {message}" if where else message)
        else:
            lines.append(
                f"{where}: {found['msg'][0].lower()}{found['msg'][1:]}; given: {_kind(found['input'])}"
            )
    more = len(details) - len(lines)
    return " | ".join(lines) + (f" | and {more} more" if more > 0 else "")


def _unknown_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    allowed: list[str] = []
    here: Any = model
    for part in location[:-1]:
        here = _inner_model(here, part)
    if isinstance(here, type) and issubclass(here, OneOf):
        allowed = here.keys()
    elif isinstance(here, type) and issubclass(here, BaseModel):
        allowed = list(here.model_fields)
    key = str(location[-1])
    near = difflib.get_close_matches(key, allowed, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{'.'.join(map(str, location))}: unknown key{hint}; allowed: {', '.join(allowed) or 'none'}"


def _inner_model(kind: Any, part: int | str) -> Any:
    """Follow one part of an error's location into a type."""
    if not isinstance(part, str) or not isinstance(kind, type) or not issubclass(kind, BaseModel):
        return kind
    if part in kind.model_fields:
        return _first_model(kind.model_fields[part].annotation)
    return _first_model(kind.description(part)) if issubclass(kind, OneOf) else kind


def _first_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _first_model(argument)
        if found is not None:
            return found
    return None


def _kind(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
