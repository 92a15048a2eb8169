"""The command `raygen train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from raygen.cli.options import Output, Quiet, Sets, say, tell

if TYPE_CHECKING:
    from raygen.train.run import TrainResult

BASELINE = ("accuracy", "macro_f1")  # metrics of a baseline that are printed; the report has more
PER_CLASS = ("precision_", "recall_", "f1_")  # metrics of one label each: the report has them


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="a recipe's YAML file", show_default=False)
    ],
    sets: Sets = None,
    output: Output = None,
    sweep: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--sweep", metavar="SWEEP", help="a sweep's YAML file: train with varied settings, keep the best"
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model, or go on where it stopped: the same command again resumes it.

    Ctrl-C writes a checkpoint and ends.
    """
    from raygen.extras import require
    from raygen.train.recipe import load_recipe

    loaded = load_recipe(recipe, sets or (), output_uri=output)
    require("train", "raygen train")
    if sweep is not None:
        from raygen.train.sweep import run_sweep
        from raygen.train.sweep_file import load_sweep

        found = run_sweep(loaded, load_sweep(sweep, loaded))
        tell(found.lines())
        return
    from raygen.train.driver.progress import make_train_display
    from raygen.train.run import train as run_training

    _finish(run_training(loaded, display=make_train_display(quiet)))


def _finish(result: TrainResult) -> None:
    if result.state != "finished":
        say(f"stopped after step {result.steps:,}. Run the same command again to resume")
        raise typer.Exit(result.exit_code)
    for split, metrics in result.metrics.items():
        shown = {name: value for name, value in metrics.items() if not name.startswith(PER_CLASS)}
        print(f"{split + ':':12}" + ", ".join(f"{name} {value:.4g}" for name, value in shown.items()))
    for name, metrics in result.baselines.items():
        beside = ", ".join(f"{metric} {metrics[metric]:.4g}" for metric in BASELINE)
        print(f"baseline:   {name}: {beside}")
    print(f"model:      {result.model}")
    if result.report:
        print(f"report:     {result.report}")
    print(f"to use it:  {result.usage}")
