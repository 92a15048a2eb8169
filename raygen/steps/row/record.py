"""The record: what a row asked of engines and what they answered, as its outcome holds it; and how it is read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from raygen.engines.finish import UNTOLD, finish_of
from raygen.engines.requests import (
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    LikelihoodResult,
    MediaSample,
    RenderRequest,
    RenderResult,
    TokenLogprob,
)
from raygen.errors import CorruptDataError, KeyNotFoundError

if TYPE_CHECKING:  # a job's validation needs none
    import pyarrow as pa

MediaOf = Callable[[Mapping[str, Any]], bytes | None]
BESIDE = ("reasoning", "refusal", "tool_calls")  # what a sample may bring beside its text
COLUMNS = ("row_id", "samples", "discarded", "calls")  # of an outcome: where its record stands


def classified(key: str, model: str, probabilities: list[dict[str, float]], tokens: int) -> dict[str, Any]:
    """Return a call of a classifier as an outcome holds it (CALL)."""
    plain = [{label: float(chance) for label, chance in each.items()} for each in probabilities]
    return {"key": key, "model": model, "value": _json(plain), "tokens": tokens}


def generated(key: str, model: str, result: GenerateResult) -> dict[str, Any]:
    """Return a call that made no sample of the row's own, such as a judge's verdict, as an outcome holds it (CALL)."""
    plain = [
        {
            "text": sample.text,
            "finish_reason": sample.finish_reason,
            "output_tokens": sample.output_tokens,
            "logprobs": None if sample.logprobs is None else [asdict(each) for each in sample.logprobs],
            **{name: said for name in (*BESIDE, "units") if (said := getattr(sample, name)) is not None},
        }
        for sample in result.samples
    ]
    return {"key": key, "model": model, "value": _json(plain), "tokens": result.prompt_tokens}


def likely(key: str, model: str, result: LikelihoodResult) -> dict[str, Any]:
    """Return how probable a model found texts, as an outcome holds it (CALL)."""
    plain = {"logprobs": [float(each) for each in result.logprobs], "tokens": list(result.tokens)}
    return {"key": key, "model": model, "value": _json(plain), "tokens": result.prompt_tokens}


def _json(plain: Any) -> str:
    """JSON in which every float comes back bit for bit; infinity too, which a forbidden token's log-probability is."""
    return json.dumps(plain, separators=(",", ":"))


class Record:
    """The answers that one row's outcome holds, by the keys of the calls.

    Args:
        outcome: its row, with `samples`, `discarded` and `calls`; of a failed row: what it got before it failed.
        media: returns the bytes of a sample of it, checked; None: it has none.
    """

    def __init__(self, outcome: Mapping[str, Any], media: MediaOf | None = None) -> None:
        self._media = media
        self._samples: dict[str, list[Mapping[str, Any]]] = {}
        for sample in (*(outcome.get("samples") or ()), *(outcome.get("discarded") or ())):
            if sample["call"] is not None:
                self._samples.setdefault(sample["call"], []).append(sample)
        self._calls = {call["key"]: call for call in outcome.get("calls") or ()}

    def generated(self, key: str, request: GenerateRequest) -> GenerateResult | None:
        """Return a call's result if all of it is here: every sample, and none that broke off.

        Log-probabilities that are asked for and not here were not given: asking again would not bring them.
        """
        samples = sorted(self._samples.get(key, ()), key=lambda sample: int(sample["index"]))
        prompt_tokens = samples[0]["usage"]["prompt_tokens"] if samples else 0
        if not samples and key in self._calls:
            samples = json.loads(self._calls[key]["value"])
            prompt_tokens = self._calls[key]["tokens"]
        if len(samples) != len(request.seeds) or any(sample["text"] is None for sample in samples):
            return None
        if any(finish_of(sample["finish_reason"]) is None for sample in samples):
            return None
        return GenerateResult([_sample(each) for each in samples], prompt_tokens)

    def may_have(self, key: str) -> bool:
        """Whether samples of a call are here."""
        return key in self._samples

    def rendered(self, key: str, request: RenderRequest) -> RenderResult | None:
        """Return a call's media if all of them are here. They may have to be read from a store, which takes its time.

        Raises:
            StorageError: the store does not answer; what is damaged or gone there is None.
        """
        samples = sorted(self._samples.get(key, ()), key=lambda sample: int(sample["index"]))
        if len(samples) != len(request.seeds) or any(sample["media_type"] is None for sample in samples):
            return None
        found = []
        for sample in samples:
            try:
                media = self._media(sample) if self._media is not None else sample["media"]
            except (CorruptDataError, KeyNotFoundError):
                return None
            if media is None:
                return None
            units = dict((sample["usage"] or {}).get("units") or ())
            found.append(
                MediaSample(
                    media,
                    sample["media_type"],
                    sample["width"],
                    sample["height"],
                    sample["seconds"],
                    int(units["frames"]) if "frames" in units else None,
                    finish_of(sample["finish_reason"]) or UNTOLD,
                )
            )
        return RenderResult(found, samples[0]["usage"]["prompt_tokens"])

    def classified(self, key: str) -> tuple[list[dict[str, float]], int] | None:
        """Return a call's probabilities and its tokens, if they are here."""
        call = self._calls.get(key)
        if call is None:
            return None
        return json.loads(call["value"]), call["tokens"]

    def likely(self, key: str) -> LikelihoodResult | None:
        call = self._calls.get(key)
        if call is None:
            return None
        value = json.loads(call["value"])
        return LikelihoodResult(value["logprobs"], value["tokens"], call["tokens"])


def _sample(held: Mapping[str, Any]) -> GeneratedSample:
    """Return a sample as an engine returned it, but for its token ids, which nothing reads later."""
    tokens = held["output_tokens"] if "output_tokens" in held else held["usage"]["output_tokens"]
    logprobs = held["logprobs"]
    return GeneratedSample(
        held["text"],
        finish_of(held["finish_reason"]) or UNTOLD,
        tokens,
        logprobs=None if logprobs is None else [_logprob(each) for each in logprobs],
        units=dict(units) if (units := (held.get("usage") or held).get("units")) else None,
        **{name: held.get(name) for name in BESIDE},
    )


def _logprob(held: Mapping[str, Any]) -> TokenLogprob:
    top = [tuple(each.values()) if isinstance(each, dict) else tuple(each) for each in held["top"]]
    return TokenLogprob(held["token_id"], held["token"], held["logprob"], top)


class RecordedRows:
    """What a chunk's outcomes recorded, row by row; a row is unpacked when its turn comes.

    Args:
        outcomes: tables of them, such as a chunk's.
        note: why something is not recorded, if that is worth knowing.
        media: for each table what returns the bytes of its samples; unset: they are in it.
    """

    def __init__(
        self, outcomes: Sequence[pa.Table] = (), note: str | None = None, media: Sequence[MediaOf | None] = ()
    ) -> None:
        self.note = note
        self._places = {
            row_id: (table, place, read)
            for table, read in zip(
                map(recorded_columns, outcomes), media or [None] * len(outcomes), strict=True
            )
            for place, row_id in enumerate(table.column("row_id").to_pylist())
        }

    def of(self, row_id: str) -> Record | None:
        if row_id not in self._places:
            return None
        table, place, media = self._places[row_id]
        return Record(table.slice(place, 1).to_pylist()[0], media)


def recorded_columns(outcomes: pa.Table) -> pa.Table:
    """Return of outcomes what their record consists of."""
    return outcomes.select([name for name in COLUMNS if name in outcomes.column_names]).combine_chunks()
