from __future__ import annotations

import numpy as np
import pytest

from raygen.engines.requests import (
    ClassifyResult,
    EmbedResult,
    GeneratedSample,
    GenerateResult,
    LikelihoodResult,
    ListenResult,
    MediaSample,
    RenderResult,
    SpeakResult,
)

NONE = np.zeros((0, 0), np.float32)


@pytest.mark.parametrize(
    ("result", "usage"),
    [
        (
            GenerateResult([GeneratedSample("a", "stop", 3), GeneratedSample("b", "stop", 4)], 5),
            {"prompt_tokens": 5, "output_tokens": 7},
        ),
        (
            RenderResult([MediaSample(b"", "image/png"), MediaSample(b"", "image/webp")], 5),
            {"prompt_tokens": 5, "images": 2},
        ),
        (RenderResult([MediaSample(b"", "video/mp4", seconds=2.0, frames=48)]), {"frames": 48}),
        (
            SpeakResult([MediaSample(b"", "audio/flac", seconds=s) for s in (1.5, 2.0)]),
            {"audio_seconds": 3.5},
        ),
        (ListenResult("hello", 2.5, output_tokens=1), {"audio_seconds": 2.5, "output_tokens": 1}),
        (EmbedResult(NONE, 5, {"images": 2}), {"encoded_tokens": 5, "images": 2}),
        (ClassifyResult([], NONE, 6), {"encoded_tokens": 6}),
        (LikelihoodResult([-1.0, -2.0], [2, 3], 4), {"prompt_tokens": 9}),
    ],
)
def test_a_result_knows_its_usage_by_unit(result, usage):
    assert result.usage == usage


def test_a_unit_that_is_not_known_is_left_out():
    untold = GenerateResult([GeneratedSample("a", "stop", None)], None)
    assert untold.usage == {}
    assert SpeakResult([MediaSample(b"", "audio/flac")]).usage == {}
    partly = GenerateResult([GeneratedSample("a", "stop", None), GeneratedSample("b", "stop", 4)], 0)
    assert partly.usage == {"prompt_tokens": 0, "output_tokens": 4}
