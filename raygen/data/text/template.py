"""Prompt templates: Jinja2, sandboxed, strict about undefined names, over a row's columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from jinja2 import StrictUndefined, TemplateError, meta, nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raygen.data.text.printed import (
    EACH_PRINTED,
    PRINTED,
    bare_paths,
    check_printable,
    each_printed,
    formatted,
    guard,
    printed,
)
from raygen.errors import ConfigError, RowError

MAX_BITS = 100_000  # of a power


class _Environment(ImmutableSandboxedEnvironment):
    """Without what a short template can compute for hours with: powers of large numbers, and Jinja's filler text.

    Prints what is text, and nothing in Python's own notation.
    """

    intercepted_binops = frozenset({"**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
        del self.globals["lipsum"]
        self.filters |= {PRINTED: printed, EACH_PRINTED: each_printed}

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        method = getattr(function, "__wrapped__", function)  # the sandbox has a `format` of its own
        if isinstance(getattr(method, "__self__", None), str) and method.__name__ in ("format", "format_map"):
            formatted((*args, *kwargs.values()))
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%":
            if isinstance(left, str):
                formatted(right)
            return super().call_binop(context, operator, left, right)
        bits = left.bit_length() if isinstance(left, int) else 1
        if isinstance(right, int) and bits * abs(right) > MAX_BITS:
            raise OverflowError(f"a power of more than {MAX_BITS:,} bits")
        return super().call_binop(context, operator, left, right)


_ENVIRONMENT = _Environment()


class Template:
    """One compiled template.

    Args:
        text: the template; where: the job's key for it, named in errors.

    Raises:
        ConfigError: the template does not parse.
    """

    def __init__(self, text: str, where: str) -> None:
        self.where = where
        try:
            parsed = _ENVIRONMENT.parse(text)
            self.columns = meta.find_undeclared_variables(parsed)
            self.bare = bare_paths(parsed)
            guard(parsed, _ENVIRONMENT)
            self._template = _ENVIRONMENT.from_string(parsed)
        except TemplateSyntaxError as error:
            raise ConfigError(f"{where}: line {error.lineno} of the template: {error.message}") from None
        except (RecursionError, MemoryError):
            raise ConfigError(f"{where}: the template is nested too deeply, or too large") from None
        for node in parsed.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            raise ConfigError(
                f"{where}: line {node.lineno} of the template: there are no other templates to take in"
            )

    def check(self, columns: Mapping[str, pa.DataType]) -> None:
        """Refuse columns that cannot be printed as text. Raises ConfigError: one holds lists or objects."""
        check_printable(self.bare, self.where, columns)

    def render(self, row: Mapping[str, Any]) -> str:
        """Return the text for a row. Raises RowError when the row lacks what the template prints, or has no text there."""
        try:
            return self._template.render(row)
        except RowError as error:
            raise RowError(error.code, f"{self.where}: {error.message}") from None
        except UndefinedError as error:
            raise RowError(
                "missing_column", f"{self.where}: {error.message}; the row has: {', '.join(row)}"
            ) from None
        except (
            TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, MemoryError, RecursionError
        ) as error:  # fmt: skip
            raise RowError("template_error", f"{self.where}: {type(error).__name__}: {error}") from None
