"""Causal LMs: what is learnt of a row, packed examples that never see each other, directories that others load."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from raygen.errors import ConfigError, RowError
from raygen.models.text.chat_template import TemplateRules
from raygen.models.text.chat_tokenizer import load_chat_tokenizer
from raygen.models.text.lora import load_lora
from raygen.train.families.causal_lm import PACKABLE, CausalLMTrainer, token_losses
from raygen.train.families.text_units import IGNORED, TextExample
from tests.fakes.tiny_llama import know_more, save_tiny, tiny_model, tiny_tokenizer
from tests.train.in_memory import bert, llama, recipe_of, table_of, trainer_of

CPU = torch.device("cpu")
TURNS = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Settings that give tiny models of these types all that matters: windows shorter than a sequence, both kinds of layers.
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 160},
    "mistral": {"sliding_window": 4},
    "gemma3_text": {"head_dim": 16, "sliding_window": 4, "num_hidden_layers": 6, "pad_token_id": 0},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "sliding_window": 4},
    "gpt_neox": {},
    "phi": {},
    "phi3": {"pad_token_id": 0},
    "olmo2": {},
    "olmo3": {"sliding_window": 4},
    "granite": {},
    "smollm3": {"pad_token_id": 0},
    "stablelm": {},
    "starcoder2": {"sliding_window": 4},
    "cohere": {},
    "cohere2": {"sliding_window": 4},
    "glm4": {"pad_token_id": 0, "head_dim": 16},
    "exaone4": {"sliding_window": 4},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return save_tiny(folder, tiny_model(), TURNS)


def shown(example: TextExample) -> tuple[str, str]:
    """All of the text, and what bears loss."""
    tokenizer = tiny_tokenizer()
    learnt = [target for target in example.targets if target != IGNORED]
    assert all(t in (IGNORED, i) for t, i in zip(example.targets, example.input_ids, strict=True))
    return tokenizer.decode(example.input_ids), tokenizer.decode(learnt)


def test_a_completion_and_the_end_of_its_turn_bear_loss_and_nothing_else(base: Path) -> None:
    objective = {"system": "Be {{ how }}", "prompt": "{{ q }}", "completion": "{{ a }}"}
    trainer = trainer_of(recipe_of(base, objective=objective, batch={"max_tokens": 100}))
    example = trainer.encode("r", {"how": "short", "q": "why?", "a": "the ant"})
    text = "<|system|>Be short</s>\n<|user|>why?</s>\n<|assistant|>the ant</s>"
    assert shown(example) == (text, "the ant</s>")
    # What the model reads when it is asked is exactly what stands before.
    asked = trainer._chat.encode(  # type: ignore[attr-defined]
        [{"role": "system", "content": "Be short"}, {"role": "user", "content": "why?"}]
    )
    assert example.input_ids[: len(asked)] == asked


def test_every_turn_of_the_assistant_bears_loss(base: Path) -> None:
    trainer = trainer_of(recipe_of(base, objective={"messages": "chat"}, batch={"max_tokens": 100}))
    chat = [("user", "a?"), ("assistant", "b"), ("user", "c?"), ("assistant", "d e")]
    row = {"chat": [{"role": role, "content": content} for role, content in chat]}
    text = "<|user|>a?</s>\n<|assistant|>b</s>\n<|user|>c?</s>\n<|assistant|>d e</s>"
    assert shown(trainer.encode("r", row)) == (text, "b</s>d e</s>")
    assert trainer.encode("r", {"chat": json.dumps(row["chat"])}) == trainer.encode("r", row)
    trailing = {"chat": [*row["chat"], {"role": "user", "content": "not answered"}]}
    assert shown(trainer.encode("r", trailing))[0] == text


def test_of_plain_text_everything_bears_loss_but_the_first_token(base: Path) -> None:
    trainer = trainer_of(recipe_of(base, objective={"text": "{{ t }}"}))
    assert shown(trainer.encode("r", {"t": "an ant"})) == ("an ant</s>", " ant</s>")


def test_without_a_chat_template_prompt_and_completion_are_joined(tmp_path: Path) -> None:
    trainer = trainer_of(recipe_of(save_tiny(tmp_path, chat_template=None)))
    assert shown(trainer.encode("r", {"q": "Q:", "a": " the"})) == ("Q: the</s>", " the</s>")


def test_a_template_that_ends_no_turn_gets_the_end_of_text(tmp_path: Path) -> None:
    trainer = trainer_of(recipe_of(save_tiny(tmp_path)))
    assert shown(trainer.encode("r", {"q": "Q", "a": "the"})) == ("<|user|>Q<|assistant|>the</s>", "the</s>")


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"q": "x" * 40, "a": "y"}, "too_long"),
        ({"q": "x", "a": " "}, "missing_value"),
        ({"q": None, "a": "y"}, "missing_value"),
        ({"q": "x"}, "missing_column"),
        ({"q": "\ud800", "a": "y"}, "invalid_text"),
    ],
)
def test_rows_that_cannot_be_learnt_from(base: Path, row: dict[str, Any], code: str) -> None:
    with pytest.raises(RowError) as refused:
        trainer_of(recipe_of(base)).encode("r", row)
    assert refused.value.code == code


def test_a_cut_example_keeps_its_beginning_and_needs_a_target(base: Path) -> None:
    trainer = trainer_of(recipe_of(base, preparation={"too_long": "cut"}))
    example = trainer.encode("r", {"q": "x", "a": "y" * 40})
    assert len(example.input_ids) == 32
    with pytest.raises(RowError) as refused:
        trainer.encode("r", {"q": "x" * 40, "a": "y"})
    assert refused.value.code == "no_targets"


def test_a_template_that_writes_earlier_turns_otherwise_is_refused(tmp_path: Path) -> None:
    forgetful = "{% if messages|length > 2 %}Later. {% endif %}" + TURNS
    trainer = trainer_of(
        recipe_of(save_tiny(tmp_path, chat_template=forgetful), objective={"messages": "chat"})
    )
    chat = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    with pytest.raises(RowError, match="message 3 otherwise"):
        trainer.encode("r", {"chat": chat})


def random_examples(lengths: list[int], seed: int = 0) -> list[TextExample]:
    draw = torch.Generator().manual_seed(seed)
    found = []
    for number, length in enumerate(lengths):
        ids = torch.randint(4, 200, (length,), generator=draw).tolist()
        learnt = [IGNORED] + [token if token % 3 else IGNORED for token in ids[1:]]
        found.append(TextExample(f"r{number}", ids, learnt))
    return found


def test_every_packable_model_type_is_tested() -> None:
    assert set(KINDS) == PACKABLE


@pytest.mark.parametrize("kind", KINDS)
def test_packed_examples_never_see_each_other(tmp_path: Path, kind: str) -> None:
    trainer = trainer_of(recipe_of(save_tiny(tmp_path, tiny_model(kind, **KINDS[kind]), TURNS)))
    assert trainer.packs
    model = trainer.load_model(CPU).eval()
    examples = random_examples([7, 1, 12, 9])
    packed = trainer.collate(table_of([examples[:3], examples[3:]]), CPU)
    losses = token_losses(model, packed)
    alone = torch.cat([token_losses(model, trainer.collate(table_of([[each]]), CPU)) for each in examples])
    torch.testing.assert_close(losses, alone, rtol=1e-5, atol=1e-5)
    assert trainer.loss(model, packed).item() == pytest.approx(alone.sum().item(), rel=1e-6)
    # Another first example changes nothing, to the bit, of what comes behind it, and of the next unit.
    other = [random_examples([7], seed=1)[0], *examples[1:]]
    others = token_losses(model, trainer.collate(table_of([other[:3], other[3:]]), CPU))
    own = sum(target != IGNORED for target in examples[0].targets)
    new = sum(target != IGNORED for target in other[0].targets)
    assert torch.equal(others[new:], losses[own:])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("bloom", {"n_layer": 2, "n_head": 4}),
        ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "dynamic",
                    "factor": 2.0,
                    "rope_theta": 1e4,
                }
            },
        ),
    ],
)
def test_models_that_cannot_tell_examples_apart_are_not_packed(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    trainer = trainer_of(recipe_of(save_tiny(tmp_path, tiny_model(kind, **changes), TURNS)))
    assert not trainer.packs
    model = trainer.load_model(CPU).eval()
    examples = random_examples([7, 2, 12])
    losses = token_losses(model, trainer.collate(table_of([[each] for each in examples]), CPU))
    alone = torch.cat([token_losses(model, trainer.collate(table_of([[each]]), CPU)) for each in examples])
    torch.testing.assert_close(losses, alone, rtol=1e-5, atol=1e-5)


def test_the_loss_is_transformers_own_and_the_head_sees_targets_only(base: Path) -> None:
    trainer = trainer_of(recipe_of(base))
    model: Any = trainer.load_model(CPU).eval()
    example = random_examples([20])[0]
    seen: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    losses = token_losses(model, trainer.collate(table_of([[example]]), CPU))
    hook.remove()
    ids, labels = torch.tensor([example.input_ids]), torch.tensor([example.targets])
    assert losses.mean().item() == pytest.approx(model(input_ids=ids, labels=labels).loss.item(), rel=1e-5)
    assert seen == [sum(target != IGNORED for target in example.targets)]


def test_perplexity_and_the_worst_examples_whoever_counts_them(base: Path) -> None:
    trainer = trainer_of(recipe_of(base, evaluation={"worst": 2}))
    model = trainer.load_model(CPU).eval()
    examples = random_examples([5, 9, 12, 4])
    blocks = [table_of([examples[:2]]), table_of([examples[2:]])]
    meters = [trainer.new_meter() for _ in blocks]
    with torch.no_grad():
        for meter, block in zip(meters, blocks, strict=True):
            meter.add(model, block, CPU)
        means = {
            each.row_id: token_losses(model, trainer.collate(table_of([[each]]), CPU)) for each in examples
        }
    whole = trainer.new_meter()
    for meter in meters:
        whole.merge(meter.state())
    found = whole.result()
    loss = torch.cat(list(means.values())).mean().item()
    assert found.metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert found.metrics["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    expected = sorted(means, key=lambda row: -means[row].mean().item())[:2]
    assert [each["row_id"] for each in found.worst] == expected
    assert found.worst[0]["loss"] == pytest.approx(means[expected[0]].mean().item(), rel=1e-5)
    assert found.worst[0]["text"]


def test_a_saved_model_is_loaded_by_transformers(base: Path, tmp_path: Path) -> None:
    trainer = trainer_of(recipe_of(base))
    model = trainer.load_model(CPU).eval()
    trainer.save(model, tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model", local_files_only=True)
    ids = torch.arange(4, 20)[None]
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert (tmp_path / "model" / "chat_template.jinja").read_text() == TURNS


def test_a_saved_adapter_is_raygens_and_its_merged_model_computes_the_same(
    base: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(recipe_of(base, trained={"lora": {"rank": 4, "merge": True}}))
    model: Any = trainer.load_model(CPU)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.eval()
    ids = torch.arange(4, 20)[None]
    expected = model(ids).logits
    trainer.save(model, tmp_path)
    assert len(load_lora(str(tmp_path))) == 2 * 7
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", local_files_only=True)
    torch.testing.assert_close(merged(ids).logits, expected, rtol=1e-4, atol=1e-4)
    untouched = AutoModelForCausalLM.from_pretrained(base, local_files_only=True)
    assert not torch.allclose(untouched(ids).logits, expected, atol=1e-2)


def test_bases_of_another_family_and_settings_that_do_not_fit_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a bert \(BertModel\).*family: classifier"):
        CausalLMTrainer.check_base(bert(tmp_path / "bert"))
    checks: list[tuple[dict[str, Any], str]] = [
        ({"batch": {"max_tokens": 200}}, r"batch\.max_tokens: 200; the base reads at most 160"),
        ({"trained": {"top_layers": 3}}, r"top_layers: 3; the base has 2 layers"),
        ({"trained": {"lora": {"targets": ["query"]}}}, r"no linear layer 'query'; it has .*q_proj"),
        ({"evaluation": {"metric": "accuracy"}}, r"evaluation\.metric: .*allowed: loss, perplexity"),
    ]
    for changes, message in checks:
        with pytest.raises(ConfigError, match=message):
            trainer_of(recipe_of(base, **changes)).check()
    plain = save_tiny(tmp_path / "plain", chat_template=None)
    with pytest.raises(ConfigError, match="no chat template"):
        trainer_of(recipe_of(plain, objective={"messages": "chat"}))
    trainer_of(recipe_of(llama(tmp_path / "fits"))).check()


@pytest.mark.parametrize("objective", [{"text": "{{ t }}"}, {"prompt": "{{ t }}", "completion": "the"}])
def test_a_row_with_a_token_that_the_base_has_no_row_for_is_broken(
    tmp_path: Path, objective: dict[str, str]
) -> None:
    base = know_more(save_tiny(tmp_path), "<odd>")
    trainer = trainer_of(recipe_of(base, objective=objective))
    with pytest.raises(RowError, match="'<odd>' as token") as broken:
        trainer.encode("r", {"t": "an <odd> ant"})
    assert broken.value.code == "invalid_text"
    assert trainer.encode("r", {"t": "an ant"})


def base_with(folder: Path, chat_template: str, **changes: Any) -> CausalLMTrainer:
    base = save_tiny(folder, tiny_model(), chat_template)
    trainer = trainer_of(recipe_of(base, **changes))
    assert isinstance(trainer, CausalLMTrainer)
    return trainer


def test_a_system_text_that_the_base_would_not_see_is_refused(tmp_path: Path) -> None:
    objective = {"system": "be kind", "prompt": "{{ q }}", "completion": "{{ a }}"}
    template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    with pytest.raises(ConfigError, match=r"objective\.system: .* leaves the system text out; put the text"):
        base_with(tmp_path, template, objective=objective).check()
    base_with(tmp_path, TURNS, objective=objective).check()


def test_a_row_whose_system_message_the_base_would_not_see_is_broken(tmp_path: Path) -> None:
    template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    trainer = base_with(tmp_path, template, objective={"messages": "chat"})
    chat = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
    assert trainer.encode("r", {"chat": chat})
    with pytest.raises(RowError, match="leaves the text of system messages out") as broken:
        trainer.encode("r", {"chat": [{"role": "system", "content": "be kind"}, *chat]})
    assert broken.value.code == "invalid_messages"


def test_arguments_of_the_template_are_those_of_generation(tmp_path: Path) -> None:
    template = "{% if thoughts is defined and not thoughts %}quick: {% endif %}" + TURNS
    trainer = base_with(tmp_path, template, template={"thoughts": False})
    trainer.check()
    example = trainer.encode("r", {"q": "w", "a": "the"})
    assert shown(example)[0].startswith("quick: <|user|>w")
    chat = load_chat_tokenizer(trainer.recipe.base, TemplateRules(arguments={"thoughts": False}))
    asked = chat.encode([{"role": "user", "content": "w"}])
    assert example.input_ids[: len(asked)] == asked
    with pytest.raises(ConfigError, match=r"template\.thinking: .* never reads it; .* thoughts"):
        base_with(tmp_path, template, template={"thinking": True}).check()


def test_a_template_that_prints_a_date_shows_that_of_the_recipe(tmp_path: Path) -> None:
    trainer = base_with(tmp_path, "{{ strftime_now('%d %b %Y') }}" + TURNS, date="2026-01-31")
    trainer.check()
    assert shown(trainer.encode("r", {"q": "w", "a": "the"}))[0].startswith("31 Jan 2026<|user|>w")
    with pytest.raises(ConfigError, match="date: the base's chat template prints none"):
        base_with(tmp_path / "plain", TURNS, date="2026-01-31").check()


def test_arguments_without_a_chat_are_refused(base: Path) -> None:
    with pytest.raises(ValueError, match="template: only what a causal_lm learns of chats"):
        recipe_of(base, objective={"text": "{{ t }}"}, template={"thoughts": False})
    with pytest.raises(ValueError, match="date: only what a causal_lm learns of chats"):
        recipe_of(base, objective={"text": "{{ t }}"}, date="2026-01-31")
