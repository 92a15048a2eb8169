"""The encoder engine: vectors and class probabilities of texts, by transformers' own model classes.

Texts of all requests are computed together, in batches of one padded length. The numbers of a text depend on the
text alone: never on the batch, the order or a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from raygen.engines.encoder.batches import EncoderBatches, padded_length
from raygen.engines.encoder.facts import EncoderFacts
from raygen.engines.encoder.request import PendingTexts, Text
from raygen.engines.requests import (
    ClassifyRequest,
    ClassifyResult,
    EmbedRequest,
    EmbedResult,
    Media,
)
from raygen.engines.stepping import SteppingEngine
from raygen.engines.worker import start_torch, turn_on
from raygen.errors import EngineConfigError, EngineError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.models.stable.yardstick import words_of
from raygen.usage import ENCODED_TOKENS

if TYPE_CHECKING:
    from raygen.models.text.encoder import Encoder


class EncoderEngine(EncoderFacts, SteppingEngine[PendingTexts, list[PendingTexts]]):
    """One embedder or classifier, which computes texts of one padded length together."""

    def __init__(self, model: ResolvedModel) -> None:
        super().__init__(model)
        self._yardstick: str | None = None
        self._threads = ""  # how many, for the lineage

    def _load(self) -> tuple[Encoder, int]:
        """Return the model, and how many numbers it computes for a text."""
        name, spec, options = self.model.name, self.model.spec, self.options
        if self.model.path is None:
            raise EngineError(f"model {name!r}: its reference was not resolved to a directory")
        if spec.family == "classifier" and (options.pooling, options.normalize) != (None, None):
            raise EngineConfigError(f"model {name!r}: `pooling` and `normalize` are options of an embedder")
        device = start_torch(options.threads, options.device)
        self._turn, self._threads = turn_on(device)
        from raygen.models.text.encoder import load_classifier, load_embedder

        try:
            if spec.family == "classifier":
                encoder = load_classifier(self.model.path, spec.dtype, device)
            else:
                encoder = load_embedder(
                    self.model.path, spec.dtype, device, options.pooling, options.normalize
                )
            # Two texts at least: what a model cannot do with a batch must show now, not at some row.
            trial = encoder.encode("a", None)
            length = padded_length(len(trial["input_ids"]), encoder.longest)
            width = encoder.run([trial, trial], length).shape[1]
        except EngineConfigError as error:
            raise EngineConfigError(f"model {name!r}: {error}") from error
        except Exception as error:  # no such device, no memory, a model class with wishes of its own
            raise EngineError(f"model {name!r} on device {device}: {error}") from error
        return encoder, width

    def _loaded(self, loaded: tuple[Encoder, int]) -> None:
        self._encoder, self._width = loaded
        options, encoder = self.options, self._encoder
        self._yardstick = words_of(encoder.products.facts())
        self._labels, self._multi_label = encoder.labels, encoder.multi_label
        self._limit = min(encoder.limit, options.max_tokens or encoder.usual_limit)
        self._batches: EncoderBatches[Text] = EncoderBatches(
            options.max_batch_tokens, options.max_batch, encoder.longest
        )
        self.stats.limit = options.max_batch
        self.stats.extra = {"texts": 0, "batches": 0, "padded_tokens": 0}

    def _unload(self) -> None:
        vars(self).pop("_encoder", None)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Return one vector for every text, by the model's own pooling unless the options say otherwise.

        A prompt that the model wants before a text (`query: `) is the caller's to write.

        Raises:
            RowError: `text_too_long`, `invalid_text`, `empty_text`, `nan_logits`; `engine_unsupported` of a classifier.
            EngineError: the engine is broken or closed.
        """
        if self.model.spec.family != "embedder":
            raise self.lacks("embed")
        texts = [each for each in request.inputs if not isinstance(each, Media)]
        if len(texts) != len(request.inputs):
            raise self._unsupported("embeds texts only")
        pending = await self._computed(texts, request.priority)
        return EmbedResult(pending.stacked(self._width), pending.tokens)

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
        """Return the probability of every label for every text or pair.

        Probabilities add up to 1, unless the model's labels do not exclude each other (`multi_label_classification`).

        Raises:
            RowError: `text_too_long`, `invalid_text`, `empty_text`, `nan_logits`; `engine_unsupported` of an embedder.
            EngineError: the engine is broken or closed.
        """
        if self.model.spec.family != "classifier":
            raise self.lacks("classify")
        pending = await self._computed(request.texts, request.priority)
        logits = pending.stacked(self._width)
        chances = _sigmoid if self._multi_label else _softmax
        named = [dict(zip(self._labels, chances(row).tolist(), strict=True)) for row in logits]
        return ClassifyResult(named, logits, pending.tokens)

    async def _computed(self, texts: Sequence[str | tuple[str, str]], priority: int) -> PendingTexts:
        """Queue a request and wait until its texts are computed. Raises RowError, EngineError."""
        self._check_running()
        pending = PendingTexts(asyncio.get_running_loop().create_future(), texts, priority)
        self._requests.add(pending)
        self._inbox.append(pending)
        self._wake.set()
        try:
            await pending.finished
        finally:
            pending.cancelled = True
            self._requests.discard(pending)
        self.stats.requests += 1
        self.stats.usage[ENCODED_TOKENS] += pending.tokens
        return pending

    def _step(self, joining: list[PendingTexts]) -> list[PendingTexts]:
        """Queue what joins, compute one batch, and return the requests that are done. On the worker thread."""
        settled = []
        for pending in joining:
            try:
                self._queue(pending)
            except RowError as error:
                pending.error = error
            if pending.done():
                settled.append(pending)
        length, batch = self._batches.take()
        if not batch:
            return settled
        self.stats.in_flight = len(batch)
        with self._turn:
            rows = self._encoder.run([text.tokens for text in batch], length)
        self._count(length, len(batch))
        for text, row in zip(batch, rows, strict=True):
            pending = text.pending
            if pending.done():  # another of its texts has failed
                continue
            if np.isfinite(row).all():
                pending.rows[text.index] = row
            else:
                pending.error = RowError(
                    "nan_logits", f"the model's numbers for text {text.index} are not finite"
                )
            if pending.done():
                settled.append(pending)
        return settled

    def _settle(self, done: list[PendingTexts]) -> bool:
        for pending in done:
            pending.settle(pending.error)
        self.stats.waiting = len(self._batches)
        if not self.stats.waiting and not self._inbox:
            self.stats.in_flight = 0
        return self.stats.waiting > 0

    def _queue(self, pending: PendingTexts) -> None:
        """Tokenise a request's texts and queue them. Raises RowError, and queues none, if one of them is invalid."""
        if pending.cancelled:
            return
        cut_at = self._limit if self.options.truncate else None
        texts = []
        for index, raw in enumerate(pending.texts):
            text = Text(pending, index, self._encoder.encode(raw, cut_at))
            if text.size > self._limit:
                raise RowError(
                    "text_too_long",
                    f"text {index} has {text.size} tokens; {self._limit} are taken. Cut it, or set options.truncate",
                )
            texts.append(text)
        pending.tokens = sum(text.size for text in texts)
        self._batches.add(texts, pending.priority)

    def _count(self, length: int, rows: int) -> None:
        extra = self.stats.extra
        extra["texts"] += rows
        extra["batches"] += 1
        extra["padded_tokens"] += rows * length

    @property
    def capacity(self) -> int:
        return int(self.options.max_batch)

    @property
    def yardstick(self) -> str | None:
        return self._yardstick

    @property
    def version(self) -> str:
        return f"torch {version('torch')}, transformers {version('transformers')}{self._threads}"


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(powers / powers.sum())


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))
