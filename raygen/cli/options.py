"""Arguments and options that several commands share, and how commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from raygen.formatting import visible
from raygen.messages import sayer

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="a job's YAML file", show_default=False)]
RunUri = Annotated[
    str,
    typer.Argument(metavar="RUN", help="a run directory: a path or s3://bucket/prefix", show_default=False),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="override a field, such as source.max_rows=20"),
]
Input = Annotated[Optional[str], typer.Option("--input", metavar="URI", help="override source.uri")]  # noqa: UP045
Output = Annotated[
    str | None, typer.Option("--output", metavar="URI", help="the run directory (default: runs/NAME)")
]
MaxRows = Annotated[int | None, typer.Option("--max-rows", min=1, help="only the first rows of the source")]
BudgetTokens = Annotated[
    int | None,
    typer.Option("--budget-tokens", min=1, help="stop cleanly at this many tokens, prompts included"),
]
Budgets = Annotated[
    list[str] | None,
    typer.Option("--budget", metavar="UNIT=AMOUNT", help="stop cleanly at this much of a unit: images=500"),
]
BudgetS = Annotated[
    float | None, typer.Option("--budget-s", min=0, help="stop cleanly after this many seconds")
]
MaxFailed = Annotated[
    str | None,
    typer.Option(
        "--max-failed",
        metavar="ROWS",
        help="stop, to be resumed, once more rows have failed: 100, or 5% of those done (exit code 4)",
    ),
]
Reuse = Annotated[
    str | None,
    typer.Option(
        "--reuse",
        metavar="RUN",
        help="take over what another run computed of the same rows (by their ids), where this job asks the same",
    ),
]
Inline = Annotated[bool, typer.Option("--inline", help="work in this process, without Ray")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress")]


say = sayer()


def execution_sets(sets: list[str] | None, **values: str | None) -> list[str]:
    """Return the overrides with those that options of their own name: `execution.<name>`."""
    given = [f"execution.{name}={json.dumps(value)}" for name, value in values.items() if value is not None]
    return [*(sets or ()), *given]


def tell(lines: Iterable[str]) -> None:
    """Print what a command was asked for."""
    print("\n".join(map(visible, lines)))


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    import orjson

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")
