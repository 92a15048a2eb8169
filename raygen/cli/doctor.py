"""The command `raygen doctor`."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from raygen.cli.options import Json, print_json


def doctor(
    uri: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="[URI]", help="where runs are to go: a path or s3://bucket/prefix", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether this machine is fit for runs: versions, cores, memory, CPU, GPUs, disks, and a store.

    A warning: runs work, worse than they could. An error: they do not, and the exit code is 1. No value of an
    environment variable is shown, so that the output can be sent along with a report of a bug.
    """
    from raygen.doctor.examine import examine

    findings = examine(uri)
    fit = all(finding.state != "error" for finding in findings)
    if as_json:
        print_json({"fit": fit, "findings": [vars(finding) for finding in findings]})
    else:
        print("\n".join(line for finding in findings for line in finding.lines()))
    raise typer.Exit(0 if fit else 1)
