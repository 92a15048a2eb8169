"""Prompt templates: Jinja2, sandboxed, strict about undefined names, over a row's columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, meta, nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raygen.errors import ConfigError, RowError

MAX_BITS = 100_000  # of a power


def _present(value: Any) -> Any:
    """A null would be printed as the word None, bytes as their repr: neither is what anybody meant."""
    if value is None:
        raise RowError("missing_value", "a column that the template prints is null in this row")
    if isinstance(value, bytes):
        raise RowError(
            "not_text",
            "a column that the template prints holds bytes, not text; pictures go beside the prompt: `images: [COLUMN]`",
        )
    return value


class _Environment(ImmutableSandboxedEnvironment):
    """Without what a short template can compute for hours with: powers of large numbers, and Jinja's filler text."""

    intercepted_binops = frozenset({"**"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_present
        )
        del self.globals["lipsum"]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
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
            self._template = _ENVIRONMENT.from_string(text)
        except TemplateSyntaxError as error:
            raise ConfigError(f"{where}: line {error.lineno} of the template: {error.message}") from None
        except (RecursionError, MemoryError):
            raise ConfigError(f"{where}: the template is nested too deeply, or too large") from None
        for node in parsed.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            raise ConfigError(
                f"{where}: line {node.lineno} of the template: there are no other templates to take in"
            )

    def render(self, row: Mapping[str, Any]) -> str:
        """Raises RowError when the row lacks what the template prints."""
        try:
            return self._template.render(row)
        except UndefinedError as error:
            raise RowError(
                "missing_column", f"{self.where}: {error.message}; the row has: {', '.join(row)}"
            ) from None
        except (
            TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, MemoryError, RecursionError
        ) as error:  # fmt: skip
            raise RowError("template_error", f"{self.where}: {type(error).__name__}: {error}") from None
