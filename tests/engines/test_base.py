from __future__ import annotations

import asyncio

import pytest

from raygen.config.media import ListenSettings, RenderSettings, SpeakSettings
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines import ENGINES, answering, engine_class
from raygen.engines.base import Engine
from raygen.engines.requests import (
    VERBS,
    ClassifyRequest,
    EmbedRequest,
    GenerateRequest,
    LikelihoodRequest,
    ListenRequest,
    Media,
    RenderRequest,
    SpeakRequest,
)
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel

SOUND = Media(b"RIFF", "audio/wav")


class Idle(Engine):
    families = {"causal_lm": frozenset()}


@pytest.mark.parametrize("name", ENGINES.own)
def test_an_engine_has_the_verbs_that_it_declares_and_no_others(name):
    kind = engine_class(name)
    assert kind.verbs == {verb for verb in VERBS if getattr(kind, verb) is not getattr(Engine, verb)}
    assert kind.verbs == frozenset().union(*kind.families.values())


@pytest.mark.parametrize(
    ("verb", "request_"),
    [
        ("generate", GenerateRequest("r", [], Sampling(), [1])),
        ("render", RenderRequest("r", RenderSettings(), [1], "a cat")),
        ("speak", SpeakRequest("r", "hello", SpeakSettings(), [1])),
        ("listen", ListenRequest("r", SOUND, ListenSettings())),
        ("embed", EmbedRequest("r", ["a", SOUND])),
        ("classify", ClassifyRequest("r", ["a"])),
        ("likelihood", LikelihoodRequest("r", ["a"])),
    ],
)
def test_a_verb_that_an_engine_lacks_fails_the_row(verb, request_):
    engine = Idle(ResolvedModel("m", ModelSpec(family="causal_lm", engine="echo"), None, "m"))
    with pytest.raises(RowError, match=VERBS[verb]) as refused:
        asyncio.run(getattr(engine, verb)(request_))
    assert refused.value.code == "engine_unsupported"


def test_all_verbs_can_be_asked_who_answers_them():
    assert answering("embed") == "echo (embedder), encoder (embedder)"
    assert answering("speak") == ""
