"""Classifiers: labels, pairs, new heads, calibration; directories that raygen's encoder engine loads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raygen.config.model import ModelSpec
from raygen.engines.encoder.engine import EncoderEngine
from raygen.engines.requests import ClassifyRequest, ClassifyResult
from raygen.errors import ConfigError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.models.text.encoder import load_classifier
from raygen.train.families.classifier import ClassifierTrainer, logits_of
from raygen.train.families.head import final_layer
from raygen.train.families.labels import Labels
from raygen.train.families.learnable import trainable
from tests.fakes.tiny_encoders import KINDS, save_encoder, tiny_encoder
from tests.fakes.tiny_llama import know_more
from tests.train.in_memory import bert, labelled, llama, pairs, table_of, trainer_of

CPU = torch.device("cpu")
NAMES = ("no", "perhaps", "yes")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("bert"))


def test_a_pair_is_encoded_as_the_engine_will_read_it(base: Path, tmp_path: Path) -> None:
    trainer = trainer_of(labelled(base))
    example = trainer.encode("r", {"a": "an ant", "b": "hat", "label": "yes"})
    assert example.targets == [2]
    trainer.save(trainer.load_model(CPU), tmp_path)
    read = load_classifier(str(tmp_path), "float32", "cpu").encode(("an ant", "hat"), None)
    assert read == {"input_ids": example.input_ids, "token_type_ids": example.type_ids}
    assert trainer.encode("r", {"a": "an ant", "b": "hat", "label": 2}) == example


def test_rows_that_cannot_be_learnt_from(base: Path) -> None:
    trainer = trainer_of(labelled(base))
    for label, code in ((3, "unknown_label"), ("maybe", "unknown_label"), (True, "unknown_label"),
                        (-1, "unknown_label"), (None, "missing_value")):  # fmt: skip
        with pytest.raises(RowError) as refused:
            trainer.encode("r", {"a": "x", "b": "y", "label": label})
        assert refused.value.code == code
    with pytest.raises(RowError) as refused:
        trainer.encode("r", {"a": "x" * 50, "b": "y", "label": 0})
    assert refused.value.code == "too_long"
    cut = trainer_of(labelled(base, preparation={"too_long": "cut"}))
    example = cut.encode("r", {"a": "x" * 50, "b": "y", "label": 0})
    assert len(example.input_ids) == 32
    assert sum(example.type_ids) == 2  # the longer text is cut


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"b": 2, "a": 5, None: 1}, ("a", "b")),
        ({0: 1, 1: 1, 2: 1}, ("0", "1", "2")),
        ({0.0: 1, 1.0: 1}, ("0", "1")),
    ],
)
def test_labels_found_in_a_column(values: dict[Any, int], names: tuple[str, ...]) -> None:
    assert Labels.found(values, "label", None) == names


def test_labels_of_the_base_are_kept() -> None:
    assert Labels.found({"yes": 3}, "label", NAMES) == NAMES
    assert Labels.found({0: 3, 2: 1}, "label", NAMES) == NAMES
    assert Labels.found({"cat": 1, "ant": 1}, "label", NAMES) == ("ant", "cat")  # another task


@pytest.mark.parametrize(
    ("values", "own", "message"),
    [
        ({"a": 2}, None, "holds a; two labels are needed"),
        ({}, None, "holds nothing"),
        ({0: 1, 2: 1}, None, "numbers 0, 2; .*have to be 0 to n - 1"),
        ({-1: 1, 0: 1, 1: 1}, None, "numbers -1, 0, 1"),
        ({"a": 1, 0: 1}, None, r"names \(a\) and numbers \(0\)"),
        ({0.5: 1, 1: 1}, None, "holds 0.5, which is neither"),
        ({"yes": 1, "maybe": 1}, NAMES, "holds maybe; the base's labels are no, perhaps, yes"),
        ({0: 1, 3: 1}, NAMES, "holds 3; the base's labels"),
    ],
)
def test_labels_out_of_range_are_refused(
    values: dict[Any, int], own: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Labels.found(values, "label", own)


def test_a_new_head_is_seeded_and_the_encoder_is_the_bases(base: Path) -> None:
    heads = []
    for seed in (1, 1, 2):
        model: Any = trainer_of(labelled(base, seed=seed)).load_model(CPU)
        heads.append(model.classifier.weight)
    assert heads[0].shape == (3, 48)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(model.bert.encoder.layer[0].output.dense.weight,
                       tiny_encoder("bert").encoder.layer[0].output.dense.weight)  # fmt: skip


def test_a_head_of_the_same_labels_is_kept_and_of_others_replaced(tmp_path: Path) -> None:
    for labels, kept in ((NAMES, True), (("x", "y", "z"), False), (("x", "y"), False)):
        headed = tiny_encoder("bert", labels=labels)
        folder = save_encoder(tmp_path / str(len(labels)) / labels[0], headed)
        model: Any = trainer_of(labelled(folder)).load_model(CPU)
        assert model.classifier.weight.shape == (3, 48)
        assert model.config.id2label == dict(enumerate(NAMES))
        assert kept == (
            headed.classifier.weight.shape == model.classifier.weight.shape
            and torch.equal(headed.classifier.weight, model.classifier.weight)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_and_every_kind_of_encoder_learns_and_is_saved(
    tmp_path: Path, kind: str
) -> None:
    folder = save_encoder(tmp_path / "base", tiny_encoder(kind))
    trainer = trainer_of(labelled(folder))
    trainer.check()
    model = trainer.load_model(CPU).eval()
    torch.nn.init.normal_(final_layer(model).bias)
    examples = [trainer.encode(f"r{n}", row) for n, row in enumerate(pairs(3))]
    together = logits_of(model, trainer.collate(table_of([[each] for each in examples]), CPU))
    alone = torch.cat([logits_of(model, trainer.collate(table_of([[each]]), CPU)) for each in examples])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    trainer.loss(model, trainer.collate(table_of([examples[:1]]), CPU)).backward()
    assert any(weight.grad is not None for weight in trainable(model).values())
    trainer.save(model, tmp_path / "model", temperature=2.0)
    loaded = load_classifier(str(tmp_path / "model"), "float32", "cpu")
    assert loaded.labels == NAMES
    tokens = [loaded.encode((row["a"], row["b"]), None) for row in pairs(3)]
    found = np.concatenate([loaded.run([each], len(each["input_ids"])) for each in tokens])
    np.testing.assert_allclose(found, alone.detach().numpy() / 2, rtol=1e-3, atol=1e-4)


def test_label_smoothing_is_for_learning_alone(base: Path) -> None:
    smooth = labelled(base)
    smooth = smooth.model_copy(
        update={"objective": smooth.objective.model_copy(update={"label_smoothing": 0.3})}
    )
    plain, other = trainer_of(labelled(base)), trainer_of(smooth)
    model = plain.load_model(CPU).eval()
    block = table_of([[plain.encode("r", row)] for row in pairs(4)])
    batch = plain.collate(block, CPU)
    logits = logits_of(model, batch)
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")
    assert plain.loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-6)
    assert other.loss(model, batch).item() != pytest.approx(expected.item(), rel=1e-3)
    meters = [trainer.new_meter() for trainer in (plain, other)]
    with torch.no_grad():
        for meter in meters:
            meter.add(model, block, CPU)
    assert meters[0].result().metrics == meters[1].result().metrics
    assert meters[0].result().metrics["loss"] == pytest.approx(expected.item() / 4, rel=1e-5)


def test_a_meter_tells_metrics_confusion_and_the_worst(base: Path) -> None:
    trainer = trainer_of(labelled(base, evaluation={"worst": 2}))
    model = trainer.load_model(CPU).eval()
    blocks = [
        table_of([[trainer.encode(f"r{n}", row)] for n, row in part])
        for part in (list(enumerate(pairs(9)))[:4], list(enumerate(pairs(9)))[4:])
    ]
    whole = trainer.new_meter()
    for block in blocks:
        meter = trainer.new_meter()
        with torch.no_grad():
            meter.add(model, block, CPU)
        whole.merge(meter.state())
    found = whole.result()
    assert {"loss", "accuracy", "macro_f1", "weighted_f1", "ece", "f1_yes"} <= set(found.metrics)
    assert np.sum(found.details["confusion"]) == 9
    assert found.details["labels"] == list(NAMES)
    assert len(found.worst) == 2
    assert found.worst[0]["loss"] >= found.worst[1]["loss"]
    assert found.worst[0]["label"] != found.worst[0]["predicted"]
    assert set(found.worst[0]["text"])
    temperature = whole.temperature()
    assert temperature is not None
    assert whole.result(temperature).metrics["loss"] <= found.metrics["loss"]
    assert whole.result(temperature).metrics["accuracy"] == found.metrics["accuracy"]


def test_an_adapted_classifier_is_saved_merged_too(base: Path, tmp_path: Path) -> None:
    trainer = trainer_of(labelled(base, trained={"lora": {"rank": 2}}))
    model = trainer.load_model(CPU)
    for name, weight in trainable(model).items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.eval()
    row = pairs(1)[0]
    example = trainer.encode("r", row)
    expected = logits_of(model, trainer.collate(table_of([[example]]), CPU)).detach().numpy()
    trainer.save(model, tmp_path, temperature=4.0)
    assert (tmp_path / "adapter_model.safetensors").is_file()
    loaded = load_classifier(str(tmp_path / "merged"), "float32", "cpu")
    tokens = loaded.encode((row["a"], row["b"]), None)
    found = loaded.run([tokens], len(tokens["input_ids"]))
    np.testing.assert_allclose(found, expected / 4, rtol=1e-3, atol=1e-4)


def test_bases_of_another_family_and_settings_that_do_not_fit_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a llama \(LlamaForCausalLM\).*family: causal_lm"):
        ClassifierTrainer.check_base(llama(tmp_path))
    checks: list[tuple[dict[str, Any], str]] = [
        ({"batch": {"max_tokens": 129}}, r"batch\.max_tokens: 129; the base reads at most 128"),
        ({"trained": {"top_layers": 3}}, "the base has 2 layers"),
        ({"evaluation": {"metric": "perplexity"}}, "has no 'perplexity'; allowed: accuracy, ece, loss"),
    ]
    for changes, message in checks:
        with pytest.raises(ConfigError, match=message):
            trainer_of(labelled(base, **changes)).check()


def test_verdicts_are_on_the_calibrated_probability(base: Path, tmp_path: Path) -> None:
    """What training divides the logits by is what an engine, and with it every threshold of a step, sees."""
    trainer = trainer_of(labelled(base))
    model = trainer.load_model(CPU).eval()
    torch.nn.init.normal_(final_layer(model).bias)
    row = pairs(1)[0]
    with torch.no_grad():
        logits = logits_of(model, trainer.collate(table_of([[trainer.encode("r", row)]]), CPU)).numpy()[0]
    trainer.save(model, tmp_path / "model", temperature=2.5)
    spec = ModelSpec(
        family="classifier", engine="encoder", ref=str(tmp_path / "model"), options={"threads": 1}
    )
    resolved = ResolvedModel("nli", spec, str(tmp_path / "model"), "sha256:0")
    assert EncoderEngine.labels(resolved) == NAMES

    async def ask() -> ClassifyResult:
        engine = EncoderEngine(resolved)
        await engine.start()
        try:
            return await engine.classify(ClassifyRequest("r", [(row["a"], row["b"])]))
        finally:
            await engine.close()

    found = asyncio.run(ask())
    powers = np.exp(logits / 2.5)
    expected = dict(zip(NAMES, (powers / powers.sum()).tolist(), strict=True))
    assert found.probabilities[0] == pytest.approx(expected, rel=1e-4)
    plain = np.exp(logits) / np.exp(logits).sum()
    assert abs(plain - powers / powers.sum()).max() > 1e-3  # the temperature shows


def test_a_row_with_a_token_that_the_base_has_no_row_for_is_broken(tmp_path: Path) -> None:
    trainer = trainer_of(labelled(know_more(bert(tmp_path), "[ODD]")))
    with pytest.raises(RowError, match=r"'\[ODD\]' as token") as broken:
        trainer.encode("r", {"a": "an [ODD]", "b": "y", "label": 0})
    assert broken.value.code == "invalid_text"
