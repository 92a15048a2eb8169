"""Commands that look at a run: where it stands, its rows, one row's story, whether it is sound, its rows in other formats."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Optional

import typer

from raygen.cli.options import Json, RunUri, print_json, tell


def status(run_uri: RunUri, as_json: Json = False) -> None:
    """Say where a run, a training or a sweep stands: from its directory alone, on any machine."""
    from raygen.improve.directory import refuse_course
    from raygen.pipeline.progress import status_lines
    from raygen.runs.status import read_status
    from raygen.serve.batches.of_run import batch_lines, batch_of
    from raygen.serve.batches.record import CANCELLED, EXPIRED
    from raygen.storage import open_store
    from raygen.train.driver.status import is_training, read_train_status, train_status_lines

    store = open_store(run_uri)
    if is_training(store):
        training = read_train_status(store)
        if as_json:
            print_json(training.as_dict())
        else:
            tell(train_status_lines(training))
        return
    refuse_course(store)
    found, batch = read_status(store), batch_of(store)
    if batch is not None and batch.status in (CANCELLED, EXPIRED):
        found = replace(found, state=batch.status)
    if as_json:
        print_json(found.as_dict())
    else:
        tell(status_lines(found, None if batch is None else batch_lines(batch)))


def show(
    run_uri: RunUri,
    number: Annotated[int, typer.Option("-n", min=1, help="how many rows")] = 5,
    only: Annotated[Optional[str], typer.Option("--status", help="accepted, rejected or failed")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON object a row")] = False,
) -> None:
    """Show some rows: what came in, what came out, and why a row was rejected or failed."""
    from raygen.review.show import show_rows

    for line in show_rows(run_uri, number, only, as_json):
        print(line)


def trace(
    run_uri: RunUri,
    row_id: Annotated[str, typer.Argument(metavar="ROW", help="a row's id", show_default=False)],
    attribute: Annotated[
        bool, typer.Option("--attribute", help="also mark the words behind verdicts of entailment")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell one row's whole story: prompts, samples, verdicts, what was refined and why, seeds, models.

    Prompts are rendered again from the source, and proven by the digest of their call.
    """
    from raygen.review.trace import trace_row
    from raygen.review.trace_tree import print_trace

    print_trace(trace_row(run_uri, row_id, attribute=attribute), as_json)


def export(
    run_uri: RunUri,
    to: Annotated[str, typer.Option("--to", metavar="URI", help="where to write; must not exist yet")],
    as_format: Annotated[
        str, typer.Option("--format", help="jsonl, openai_batch, parquet, webdataset, or another package's")
    ] = "jsonl",
    only: Annotated[
        str | None, typer.Option("--status", help="only accepted, rejected or failed rows")
    ] = None,
) -> None:
    """Write a finished run's outcomes, checked against their digests, in another format."""
    from raygen.formatting import count
    from raygen.review.export import export_run

    rows, files = export_run(run_uri, as_format, to, only)
    print(f"{count(rows, 'row')} in {count(files, 'file')}: {to}")


def verify(
    run_uri: RunUri,
    replay: Annotated[
        str,
        typer.Option(
            "--replay",
            metavar="SHARE",
            help="also generate this share of the rows again and compare, such as 1%",
        ),
    ] = "0",
    as_json: Json = False,
) -> None:
    """Check a run: every digest, one outcome for every input row, and (with --replay) that it can be reproduced.

    Exit code 1 when anything is wrong.
    """
    from raygen.review.verify import verify_run

    found = verify_run(run_uri, replay)
    if as_json:
        print_json(found.as_dict())
    else:
        tell(found.lines())
    raise typer.Exit(0 if found.ok else 1)
