"""The command line: the only reader of argv. Each command says what it does; the work is done elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from raygen.cli.doctor import doctor
from raygen.cli.init import init
from raygen.cli.keys import keys_app, usage
from raygen.cli.look import export, show, status, trace, verify
from raygen.cli.models import data_app, models_app
from raygen.cli.options import (
    BudgetS,
    Budgets,
    BudgetTokens,
    Inline,
    Input,
    JobFile,
    Json,
    MaxFailed,
    MaxRows,
    Output,
    Quiet,
    Reuse,
    RunUri,
    Sets,
    execution_sets,
    print_json,
    say,
    tell,
)
from raygen.cli.serve import serve
from raygen.cli.train import train
from raygen.errors import InterruptedRunError, RaygenError, UserError
from raygen.terminal import show_messages

app = typer.Typer(
    name="raygen",
    help="Turn a table of inputs into a table of generated outcomes, on Ray: every row accounted for, exactly once.",
    epilog="Exit codes: 0 all rows done · 3 finished, some rows failed · 4 more rows failed than --max-failed allows · "
    "2 wrong configuration, input or endpoint · 130 interrupted · 1 anything else",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(keys_app, name="keys")


def _load(
    job: Path, sets: list[str] | None, input_uri: str | None, output: str | None, max_rows: int | None
) -> Any:
    from raygen.program.job import load_job

    return load_job(job, sets or (), input_uri=input_uri, output_uri=output, max_rows=max_rows)


@app.command()
def run(
    job: JobFile,
    sets: Sets = None,
    input_uri: Input = None,
    output: Output = None,
    max_rows: MaxRows = None,
    budget_tokens: BudgetTokens = None,
    budgets: Budgets = None,
    budget_s: BudgetS = None,
    reuse: Reuse = None,
    max_failed: MaxFailed = None,
    inline: Inline = False,
    quiet: Quiet = False,
) -> None:
    """Run a job, or go on where it stopped: the same command again resumes it.

    Ctrl-C ends it cleanly: what is committed stays. Two at once on one run are safe.
    """
    from raygen.pipeline.budget import budget_of
    from raygen.pipeline.progress import make_display
    from raygen.pipeline.run import run_job

    overrides = execution_sets(sets, reuse=reuse, max_failed=max_failed)
    found = _load(job, overrides, input_uri, output, max_rows)
    result = run_job(
        found,
        inline=inline,
        budget=budget_of(found, budget_tokens, budget_s, budgets),
        display=make_display(quiet),
    )
    _finish(result, bool(reuse))


def _finish(result: Any, reusing: bool = False) -> None:
    from raygen.pipeline.progress import result_lines
    from raygen.reports.next_steps import next_steps, reasoning_in_texts

    tell(result_lines(result, reusing))
    if result.state != "finished":
        say(f"stopped: {result.note}. Run the same command again to resume")
    elif result.rows["failed"]:
        say("\n".join(next_steps(result.uri)))
        if result.too_many_failed:
            say("more rows failed than max_failed allows: exit code 4")
    if result.state == "finished" and (lines := reasoning_in_texts(result.uri)):
        say("\n".join(lines))
    if result.rows["rejected"] and not result.rows["accepted"]:
        say(f"see why rows were rejected: raygen show {result.uri} --status rejected")
    raise typer.Exit(result.exit_code)


@app.command()
def plan(
    job: JobFile,
    sets: Sets = None,
    input_uri: Input = None,
    output: Output = None,
    max_rows: MaxRows = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="rows to generate for the forecast; 0: no forecast")
    ] = 8,
    budget_tokens: BudgetTokens = None,
    budgets: Budgets = None,
    budget_s: BudgetS = None,
    pin: Annotated[bool, typer.Option("--pin", help="also write the plan into the run directory")] = False,
    as_json: Json = False,
) -> None:
    """Say what a run would be: rows, chunks, and a forecast of time and usage, measured on a few rows.

    With budgets, also how far they would reach. Nothing is written, except with --pin.
    """
    from raygen.pipeline.budget import budget_of
    from raygen.pipeline.forecast import forecast

    loaded = _load(job, sets, input_uri, output, max_rows)
    budget = budget_of(loaded, budget_tokens, budget_s, budgets)
    found = forecast(loaded, sample, budget=budget, pin_it=pin)
    if as_json:
        print_json(found.as_dict())
    else:
        tell(found.lines())


@app.command()
def retry(
    run_uri: RunUri,
    errors_only: Annotated[
        bool, typer.Option("--errors-only", help="the failed rows (the only choice so far, and required)")
    ] = False,
    sets: Sets = None,
    max_failed: MaxFailed = None,
    inline: Inline = False,
    quiet: Quiet = False,
) -> None:
    """Generate a finished run's failed rows again. Reading the run then gives the merged outcomes.

    --set changes the job for these rows only, such as a longer context or a healthy endpoint.
    """
    from raygen.pipeline.progress import make_display
    from raygen.pipeline.retry import retry_run

    if not errors_only:
        raise UserError("say what to retry: --errors-only")
    overrides = execution_sets(sets, max_failed=max_failed)
    result = retry_run(run_uri, overrides, inline=inline, display=make_display(quiet))
    _finish(result)


@app.command()
def collect(
    run_uri: RunUri,
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="leave what is younger: 24h, 30m, 90s")
    ] = "24h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be removed")] = False,
) -> None:
    """Remove data that no commit refers to: what crashed and overtaken attempts left behind."""
    from raygen.formatting import count
    from raygen.pipeline.progress import parse_duration
    from raygen.runs.collect import collect as collect_run
    from raygen.runs.status import read_status
    from raygen.storage import open_store

    store = open_store(run_uri)
    read_status(store)
    found = collect_run(store, parse_duration(grace), dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    print(f"{verb} {count(len(found.removed), 'object')}, {count(found.removed_bytes, 'byte')}")
    if found.young:
        print(
            f"{count(found.young, 'unreferenced object is', 'unreferenced objects are')} younger than {grace}"
        )
    if found.pending:
        print(
            f"{found.pending:,} objects belong to chunks that are not committed yet: kept until the run is resumed"
        )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(
    context: typer.Context,
    job: JobFile,
    address: Annotated[
        str,
        typer.Option(
            "--address", metavar="URL", help="the cluster's job server, such as http://127.0.0.1:8265"
        ),
    ],
    working_dir: Annotated[Path, typer.Option("--working-dir", help="the directory to send along")] = Path(
        "."
    ),
    no_wait: Annotated[bool, typer.Option("--no-wait", help="do not follow the logs")] = False,
) -> None:
    """Submit `raygen run JOB ...` to a Ray cluster, follow its logs, and end with its exit code.

    Options after JOB go to `raygen run`. The working directory travels along; RAY_AUTH_TOKEN authenticates.
    """
    from raygen.pipeline.submit import submit_job

    raise typer.Exit(submit_job(job, context.args, address, working_dir, wait=not no_wait, say=say))


for _command in (init, status, show, trace, export, verify, train, serve, usage, doctor):
    app.command()(_command)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        from raygen.version import __version__

        print(f"raygen {__version__}")
        raise typer.Exit


def main(command: Callable[[], object] = app) -> None:
    """Run the command line (or another); user errors are one line, without a traceback."""
    show_messages()
    try:
        command()
    except InterruptedRunError as error:
        say(f"raygen: {error}")
        sys.stdout.flush()
        os._exit(error.exit_code)  # threads of abandoned chunks must not keep the process
    except RaygenError as error:
        _fail(error)
    except KeyboardInterrupt:
        say("raygen: interrupted")
        os._exit(130)
    except Exception as error:
        from raygen.cluster.causes import known_cause
        from raygen.extras import explained

        cause = explained(error) or known_cause(error)
        if cause is None or os.environ.get("RAYGEN_DEBUG"):
            raise
        _fail(cause)


def _fail(error: RaygenError) -> None:
    if os.environ.get("RAYGEN_DEBUG"):
        raise error
    say(f"raygen: error: {' '.join(str(error).split())}")
    sys.exit(error.exit_code)
