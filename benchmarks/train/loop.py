"""raygen's training loop beside a bare PyTorch loop and transformers' `Trainer`: `python -m benchmarks.train.loop`.

Ways: `ray`, raygen's loop on Ray Train, blocks read from the local disk; `memory`, the same, fed from its own memory; `s3`,
the same, blocks streamed from an S3 server (moto) on loopback; `bare`, a PyTorch loop whose batches are tensors before it
starts; `trainer`, transformers' Trainer over the same tensors. All compute the same blocks in the same order with the
same weights and threads, each in a process of its own, and take turns.

Printed for each: tokens a second from the end of the last warm-up step to the end of the last step. The last line has the
medians of the turns' ratios. Nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.train.material import (
    SEED,
    WARM,
    WORKLOADS,
    load_plainly,
    s3_server,
    tensors_of,
    write_material,
)
from raygen.storage import open_store
from raygen.train.recipe import Recipe, load_recipe

RAY_WAYS = ("ray", "memory", "s3")
WAYS = (*RAY_WAYS, "bare", "trainer")
RATIOS = (("ray", "bare"), ("ray", "trainer"), ("s3", "memory"))
Stamp = tuple[int, int, float]  # step, its tokens, when it ended


class Stamps:
    """A training board that notes when each step's record arrives."""

    def __init__(self) -> None:
        self._seen: list[Stamp] = []

    def push(self, records: list[dict[str, Any]]) -> bool:
        now = time.time()
        self._seen += [(each["step"], each["tokens"], now) for each in records if "split" not in each]
        return False

    def seen(self) -> list[Stamp]:
        return self._seen


def on_ray(recipe: Recipe, base: Any, folder: Path, blocks: str, in_memory: bool) -> list[Stamp]:
    """Train as `raygen train` does, with a board that takes the time; left once the last step is there."""
    from raygen.cluster.connect import connected
    from raygen.train.driver.launch import launch
    from raygen.train.loop.training import train_worker

    with connected(), tempfile.TemporaryDirectory(dir=folder) as run:
        import ray  # `connected` decides first how it starts

        board = ray.remote(num_cpus=0)(Stamps).remote()
        config = {
            "recipe": recipe.model_dump(mode="json"),
            "directory": str(base.path),
            "base_digest": base.digest,
            "uri": run,
            "prepared_uri": blocks,
            "board": board,
        }
        seen: list[Stamp] = []

        def tick(restarts: int) -> int:
            seen[:] = ray.get(board.seen.remote())
            return len(seen)

        launch(
            recipe,
            fed_from_memory if in_memory else train_worker,
            config,
            tick=tick,
            stopped=lambda: len(seen) == recipe.max_steps,
            say=lambda line: print(line, file=sys.stderr),
        )
        return seen


def fed_from_memory(config: dict[str, Any]) -> None:
    """Run a worker whose blocks are all in its memory before the first step."""
    from raygen.storage import open_store
    from raygen.train.loop import training as loop
    from raygen.train.loop.feed import read_blocks
    from raygen.train.prepare.prepared import Prepared

    store = open_store(config["prepared_uri"])
    prepared = Prepared.load(store)
    held = {
        split: list(read_blocks(prepared, split, range(len(blocks)), store))
        for split, blocks in prepared.blocks.items()
    }

    def feed(prepared: Any, split: str, numbers: Any, *where: Any) -> Iterator[Any]:
        return (held[split][number] for number in numbers)

    loop.feed = feed
    loop.train_worker(config)


def bare(recipe: Recipe, directory: Path, blocks: str) -> list[Stamp]:
    import torch

    steps = tensors_of(recipe, directory, blocks)
    torch.set_num_threads(recipe.threads or 1)
    model = load_plainly(recipe, directory)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.optimizer.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(steps))
    seen = []
    for number, (tokens, batches) in enumerate(steps, 1):
        for batch in batches:
            (model(**batch).loss / len(batches)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seen.append((number, tokens, time.time()))
    return seen


def trainer(recipe: Recipe, directory: Path, blocks: str) -> list[Stamp]:
    """Every batch is one of Trainer's steps: it has no steps of uneven numbers of batches."""
    import torch
    from torch.utils.data import IterableDataset
    from transformers import Trainer, TrainerCallback, TrainingArguments

    steps = tensors_of(recipe, directory, blocks)
    torch.set_num_threads(recipe.threads or 1)
    batches = [batch for _, each in steps for batch in each]
    ends = []

    class Ends(TrainerCallback):
        def on_step_end(self, *arguments: Any, **more: Any) -> None:
            ends.append(time.time())

    class InOrder(IterableDataset):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter(batches)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=len(batches),
            per_device_train_batch_size=1,
            learning_rate=recipe.optimizer.learning_rate,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            use_cpu=True,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=SEED,
        )
        Trainer(
            model=load_plainly(recipe, directory),
            args=arguments,
            train_dataset=InOrder(),
            data_collator=lambda features: features[0],
            callbacks=[Ends()],
        ).train()
    seen, done = [], 0
    for number, (tokens, each) in enumerate(steps, 1):
        done += len(each)
        seen.append((number, tokens, ends[done - 1]))
    return seen


PLAIN_WAYS: dict[str, Callable[[Recipe, Path, str], list[Stamp]]] = {"bare": bare, "trainer": trainer}


def child(way: str, recipe_path: Path, blocks: str) -> list[Stamp]:
    """Prepare, or train one way, in this process."""
    from raygen.models.fetch.reference import resolve

    recipe = load_recipe(recipe_path)
    base = resolve(recipe.base)
    if way == "prepare":
        from raygen.cluster.connect import connected
        from raygen.train.prepare.prepare import prepare

        with connected():
            prepare(recipe, base.path, open_store(blocks), say=lambda line: None)
        return []
    if way in PLAIN_WAYS:
        return PLAIN_WAYS[way](recipe, base.path, blocks)
    return on_ray(recipe, base, recipe_path.parent, blocks, in_memory=way == "memory")


def measure(way: str, recipe: Path, blocks: str, environment: dict[str, str]) -> float:
    """Run a way in a process of its own; return its tokens a second."""
    command = [sys.executable, "-m", "benchmarks.train.loop", "--child", way, str(recipe), blocks]
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **quiet, **environment}, check=False
    )
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
    seen = json.loads(done.stdout.splitlines()[-1])[WARM - 1 :]
    if way == "prepare":
        return 0.0
    return sum(tokens for _, tokens, _ in seen[1:]) / (seen[-1][2] - seen[0][2])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", choices=WORKLOADS, default="classifier")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help="counted steps, other than the workload's")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        way, recipe_path, blocks = given.child
        print(json.dumps(child(way, Path(recipe_path), blocks)))
        return
    found: dict[str, list[float]] = {way: [] for way in given.ways}
    with tempfile.TemporaryDirectory() as name, s3_server() as environment:
        folder = Path(name)
        steps = given.steps or WORKLOADS[given.workload][0]
        recipe = write_material(folder, given.workload, steps, given.threads)
        local = str(folder / "prepared")
        measure("prepare", recipe, local, {})
        there, here = open_store("s3://bench/run"), open_store(local)
        for info in here.list():
            there.put(info.key, here.get(info.key))
        for turn in range(given.repeats):
            for way in given.ways[:: 1 if turn % 2 == 0 else -1]:
                rate = measure(way, recipe, there.uri if way == "s3" else local, environment)
                found[way].append(rate)
                print(f"{way}: {rate:,.0f} tokens/s", flush=True)
    ratios = {
        f"{one}/{other}": statistics.median(a / b for a, b in zip(found[one], found[other], strict=True))
        for one, other in RATIOS
        if one in found and other in found
    }
    print("  ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items()))
    print(json.dumps({"benchmark": "train_loop", "workload": given.workload, **found, "ratios": ratios}))


if __name__ == "__main__":
    main()
