"""The command `raygen init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def init(
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="[NAME]", help="a template's name; none: list them", show_default=False),
    ] = None,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="the directory that jobs/ is written in")
    ] = Path("."),
) -> None:
    """Write a ready job or recipe to start from, with what it needs, or list those there are.

    Nothing is overwritten.
    """
    from raygen.templates import templates, write_template

    if name is None:
        known = templates()
        width = max(map(len, known))
        for each in known.values():
            print(f"{each.name:{width}}  {each.kind + ':':7} {each.summary}")
        print("to write one: raygen init hello")
        return
    template, written, present = write_template(name, to)
    for path in written:
        print(f"wrote {path}")
    for path in present:
        print(f"there already: {path}")
    print("\n".join(template.notes))
    print(f"next: {template.command}")
