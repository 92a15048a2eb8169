"""Training: one from its first step, or its last checkpoint, to a model directory. One for all families."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from raygen.errors import CorruptDataError, InterruptedRunError, RunConflictError
from raygen.limits import usable_cores
from raygen.storage import open_store
from raygen.train.families.base import Block, Trainer, trainer_class
from raygen.train.loop.average import Average
from raygen.train.loop.checkpoint import Saver, Snapshot, latest, read
from raygen.train.loop.context import Context
from raygen.train.loop.evaluation import Best, measure
from raygen.train.loop.feed import feed
from raygen.train.loop.finish import finish
from raygen.train.loop.optimizer_step import Stepper
from raygen.train.loop.order import steps_of, total_steps
from raygen.train.loop.posts import Posts
from raygen.train.loop.ranks import Ranks
from raygen.train.prepare.encoding import base_here
from raygen.train.prepare.prepared import Prepared
from raygen.train.recipe import Recipe


@dataclass(slots=True)
class Position:
    """A place in a training: what is done."""

    epoch: int = 0
    step: int = 0  # within the epoch
    done: int = 0  # steps in all


class Training:
    """One worker's part of a training.

    Args:
        blocks: of each split, in their fixed order.
    """

    def __init__(
        self, recipe: Recipe, trainer: Trainer, blocks: Mapping[str, Sequence[Block]], context: Context
    ) -> None:
        self._recipe = recipe
        self._trainer = trainer
        self._blocks = blocks
        self._context = context
        self._higher = recipe.evaluation.metric in trainer.higher_is_better
        self.total = total_steps(
            blocks["train"], recipe.seed, recipe.epochs, recipe.batch.step_cost, recipe.max_steps
        )
        self.at = Position()
        self.best = Best()
        self.model = trainer.load_model(context.device)
        self.stepper = Stepper(recipe, trainer, self.model, context.ranks, context.device, self.total)
        self.average = Average(self.stepper.weights, recipe.ema) if recipe.ema is not None else None

    def run(self) -> dict[str, Any]:
        """Train to the end; return what finished.json says.

        Raises:
            InterruptedRunError: `stopping` said so; a checkpoint of the last step was saved.
            TrainingError: the loss is not finite, or memory ran out.
        """
        saver = Saver(self._context.store, self._recipe.checkpoints.keep, higher=self._higher)
        try:
            self.resume()
            self.model.train()
            for _ in self.steps(saver):
                pass
            return self._finish(saver)
        finally:
            saver.close()

    def resume(self) -> None:
        """Go to the newest complete checkpoint, the first worker's choice; stay at the start if there is none."""
        ranks = self._context.ranks
        found = latest(self._context.store) if ranks.first else None
        step = ranks.agree(found.step if found is not None else None)
        if step is not None:
            self._load(found or read(self._context.store, step))

    def steps(self, saver: Saver) -> Iterator[dict[str, Any]]:
        """Compute the steps that are left, evaluating and saving when it is time; yield each one's record."""
        recipe, ranks = self._recipe, self._context.ranks
        blocks = self._blocks["train"]
        for epoch in range(self.at.epoch, recipe.epochs):
            steps = steps_of(blocks, recipe.seed, epoch, recipe.batch.step_cost)
            first = self.at.step if epoch == self.at.epoch else 0
            steps = steps[: first + self.total - self.at.done]
            mine = [number for step in steps[first:] for number in step[ranks.rank :: ranks.world]]
            with self._context.blocks("train", mine) as stream:
                for number in range(first, len(steps)):
                    if self._out_of_patience():
                        return
                    yield self._one(epoch, number, steps[number], stream, saver)
            if self.at.done >= self.total:
                return

    def _one(
        self, epoch: int, number: int, members: Sequence[int], stream: Iterator[pa.Table], saver: Saver
    ) -> dict[str, Any]:
        began_s = time.perf_counter()
        recipe, context, done = self._recipe, self._context, self.at.done
        blocks = [self._blocks["train"][member] for member in members]
        weight = sum(block.weight for block in blocks)
        mine = range(context.ranks.rank, len(members), context.ranks.world)
        stepped = self.stepper.step((epoch, number), done, stream, mine, weight, stopping=context.stopping())
        self.at = Position(epoch, number + 1, done + 1)
        if self.average is not None:
            self.average.update(done + 1)
        record: dict[str, Any] = {
            "step": done + 1,
            "epoch": epoch,
            **stepped.main.record(),
            recipe.batch.unit: sum(block.cost for block in blocks),
            "weight": weight,
            "seconds": time.perf_counter() - began_s,
        }
        if len(self._trainer.PHASES) > 1:
            record["phases"] = {name: taken.record() for name, taken in stepped.phases.items()}
        self._context.say(record)
        self._look(saver, stopping=stepped.stopping)
        return record

    def _look(self, saver: Saver, *, stopping: bool) -> None:
        """Evaluate and save after a step, if it is time. Raises InterruptedRunError if it is to stop here."""
        recipe, done = self._recipe, self.at.done
        last = done == self.total
        metric, better = None, False
        if (done % recipe.evaluation.every_steps == 0 or last) and self._blocks.get("validation"):
            blocks = len(self._blocks["validation"])
            with self.average.in_place() if self.average is not None else nullcontext():
                meter = measure(recipe, self._trainer, self.model, "validation", blocks, self._context)
            metrics = meter.result().metrics
            self._context.say({"step": done, "split": "validation", "metrics": metrics})
            metric = metrics[recipe.evaluation.metric]
            better = self.best.see(done, metric, higher=self._higher)
        due = better or last or stopping or done % recipe.checkpoints.every_steps == 0
        if due and self._context.ranks.first:
            self._context.before_saving(done)
            saver.save(self._snapshot(metric))
        if stopping and not last:
            saver.finish()
            raise InterruptedRunError(f"stopped after step {done} of {self.total}; the same command resumes")

    def _out_of_patience(self) -> bool:
        patience = self._recipe.evaluation.patience
        return patience is not None and self.best.since >= patience

    def _finish(self, saver: Saver) -> dict[str, Any]:
        """Go back to the best checkpoint, if it is not the last, and finish."""
        context, kept = self._context, self.at.done
        saver.finish()
        context.ranks.agree(None)  # what the first worker saved is there for all
        if self.best.step is not None and self.best.step != kept:
            kept = self.best.step
            self._load_weights(read(context.store, kept))
        if self.average is not None:
            self.average.swap()
        return finish(self._recipe, self._trainer, self.model, self._blocks, context, self.at.done, kept)

    def _snapshot(self, metric: float | None) -> Snapshot:
        state = {
            "recipe": self._recipe.digest(),
            "epoch": self.at.epoch,
            "step": self.at.step,
            "done": self.at.done,
            "total": self.total,  # with `done`, where the schedule is
            "best": self.best.as_json(),
            "random": _random_state(),
        }
        average = self.average.tensors if self.average is not None else None
        return Snapshot(
            self.at.done, dict(self.stepper.weights), self.stepper.state(), state, metric, average
        )

    def _load(self, snapshot: Snapshot) -> None:
        state = snapshot.state
        if state["recipe"] != self._recipe.digest() or state["total"] != self.total:
            raise RunConflictError(
                f"{self._context.store.uri} holds a checkpoint of another recipe or of other data; choose another --output"
            )
        self._load_weights(snapshot)
        self.stepper.load(snapshot.optimizer)
        self.at = Position(state["epoch"], state["step"], state["done"])
        self.best = Best(**state["best"])
        torch.set_rng_state(torch.frombuffer(bytearray(base64.b64decode(state["random"])), dtype=torch.uint8))

    def _load_weights(self, snapshot: Snapshot) -> None:
        weights = self.stepper.weights
        if set(weights) != set(snapshot.weights):
            raise CorruptDataError(
                f"the checkpoint of step {snapshot.step} holds other weights than the recipe's"
            )
        with torch.no_grad():
            for name, tensor in snapshot.weights.items():
                weights[name].copy_(tensor)
        if self.average is not None and snapshot.average is not None:
            self.average.load(snapshot.average)


def train_worker(config: dict[str, Any]) -> None:
    """Train, as every worker of Ray Train does; a training that was told to stop ends without finished.json.

    Args:
        config: `recipe` as JSON; `uri` of the run directory, `prepared_uri` of the one with the prepared blocks;
            `directory` of the base as the driver found it; `board`, a handle of a TrainBoard.

    Raises:
        RaygenError: as Training.run does; ModelReferenceError: the base cannot be fetched on this node.
    """
    import ray.train
    from ray.train.torch import get_device

    recipe = Recipe.model_validate(config["recipe"])
    where = ray.train.get_context()
    storage = recipe.source.storage
    store = open_store(config["uri"], storage)
    blocks = open_store(config["prepared_uri"], storage)
    prepared = Prepared.load(blocks)
    if prepared is None:
        raise CorruptDataError(f"{blocks.uri} has no prepared data any more; run again")
    use_threads(recipe, where.get_local_world_size())
    trainer = trainer_class(recipe.family)(recipe, base_here(recipe, config["directory"]), prepared.labels)
    posts = Posts(config["board"], store, workers=where.get_world_size())
    context = Context(
        store=store,
        feed=lambda split, numbers: feed(
            prepared, split, numbers, blocks.uri, storage, cost_bytes=trainer.units.cost_bytes
        ),
        ranks=Ranks(where.get_world_rank(), where.get_world_size()),
        device=get_device(),
        board=posts,
        stopping=lambda: posts.stopping,
        before_saving=posts.keep,
    )
    try:
        Training(recipe, trainer, prepared.blocks, context).run()
    except InterruptedRunError:
        pass  # the driver asked for it, and sees that the training is not finished
    finally:
        posts.flush()


def use_threads(recipe: Recipe, neighbours: int) -> None:
    """Set the number of torch's CPU threads: the recipe's, or this worker's share of the cores.

    Args:
        neighbours: workers on this node, this one included.
    """
    torch.set_num_threads(recipe.threads or max(1, usable_cores() // neighbours))


def _random_state() -> str:
    return base64.b64encode(torch.get_rng_state().numpy().tobytes()).decode()
