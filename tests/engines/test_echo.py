from __future__ import annotations

import asyncio
import hashlib
import io
import time
import zlib
from typing import Any

import pytest
from PIL import Image

from raygen.config.media import RenderSettings
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.base import EngineStats
from raygen.engines.echo import EchoEngine, echo_text
from raygen.engines.echo_pictures import echo_picture
from raygen.engines.requests import GenerateRequest, GenerateResult, RenderRequest, RenderResult
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel


def request(row_id: str = "r", prompt: str = "two words", seeds: tuple[int, ...] = (1,)) -> GenerateRequest:
    return GenerateRequest(row_id, [{"role": "user", "content": prompt}], Sampling(), list(seeds))


def answers(*requests: GenerateRequest, **options: Any) -> tuple[list[GenerateResult], EngineStats]:
    async def main() -> tuple[list[GenerateResult], EngineStats]:
        spec = ModelSpec(family="causal_lm", engine="echo", options=options)
        engine = EchoEngine(ResolvedModel("echo", spec, None, "echo"))
        await engine.start()
        assert engine.capacity == engine.stats.limit
        try:
            return list(await asyncio.gather(*map(engine.generate, requests))), engine.stats
        finally:
            await engine.close()

    return asyncio.run(main())


def test_the_text_is_the_digest_of_row_prompt_and_seed():
    (result,), stats = answers(request(seeds=(5, 6)))
    assert result.samples[0].text == hashlib.sha256(b"r\x00two words\x005").hexdigest()
    assert [sample.text for sample in result.samples] == [
        echo_text("r", "two words", seed) for seed in (5, 6)
    ]
    assert {sample.finish_reason for sample in result.samples} == {"stop"}
    assert (stats.requests, stats.usage, result.usage) == (
        1,
        result.usage,
        {"prompt_tokens": 2, "output_tokens": 2},
    )


def test_row_prompt_and_seed_each_change_the_text():
    texts = {echo_text("r", "p", 1), echo_text("s", "p", 1), echo_text("r", "q", 1), echo_text("r", "p", 2)}
    assert len(texts) == 4


def test_half_a_surrogate_pair_is_no_obstacle():
    (result,), _ = answers(request(prompt="\ud800"))
    assert len(result.samples[0].text) == 64


def test_a_prompt_beyond_the_context_is_the_rows_fault():
    with pytest.raises(RowError, match="2 tokens; the context holds 1") as caught:
        answers(request(), context_tokens=1)
    assert caught.value.code == "prompt_too_long"


def test_the_delay_holds_for_so_many_at_once():
    began = time.perf_counter()
    results, stats = answers(*[request(str(n)) for n in range(6)], delay_s=0.05, concurrency=2)
    assert 0.15 <= time.perf_counter() - began < 1
    assert [result.samples[0].text for result in results] == [
        echo_text(str(n), "two words", 1) for n in range(6)
    ]
    assert (stats.in_flight, stats.limit) == (0, 2)


def rendered(settings: RenderSettings, *, prompt: str = "a cat", **options: Any) -> RenderResult:
    spec = ModelSpec(family="diffusion", engine="echo", options=options)
    engine = EchoEngine(ResolvedModel("echo", spec, None, "echo"))

    async def main() -> RenderResult:
        await engine.start()
        return await engine.render(RenderRequest("r", settings, [5, 6], prompt))

    return asyncio.run(main())


def test_a_picture_depends_on_prompt_and_seed_alone():
    result = rendered(RenderSettings(size=(5, 3)))
    assert [sample.media for sample in result.samples] == [
        echo_picture("a cat", seed, 5, 3) for seed in (5, 6)
    ]
    assert len({sample.media for sample in (*result.samples, *rendered(RenderSettings()).samples)}) == 4
    with Image.open(io.BytesIO(result.samples[0].media)) as picture:
        assert (picture.format, picture.size, picture.convert("RGB").size) == ("PNG", (5, 3), (5, 3))
    assert (result.samples[0].width, result.samples[0].height) == (5, 3)
    assert result.usage == {"prompt_tokens": 2, "images": 2}


def test_a_picture_can_be_filled_up_to_a_size():
    samples = rendered(RenderSettings(), media_bytes=10_000).samples
    assert [len(sample.media) for sample in samples] == [10_000, 10_000]
    assert len(zlib.compress(samples[0].media)) > 9_900
    with Image.open(io.BytesIO(samples[0].media)) as picture:
        picture.load()


def test_it_renders_nothing_but_png():
    with pytest.raises(RowError, match="renders png, not webp"):
        rendered(RenderSettings(format="webp"))
