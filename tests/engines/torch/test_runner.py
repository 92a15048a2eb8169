"""The stepper on tiny random models: token for token what transformers generates, whatever the batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from raygen.config.sampling import Sampling
from raygen.engines.torch.attention.over_slots import ATTENTION
from raygen.engines.torch.attention.products import AttentionProducts
from raygen.engines.torch.decoder import Decoder
from raygen.engines.torch.facts import PIECE
from raygen.engines.torch.memory.arena import Memory, Slot, least
from raygen.engines.torch.memory.prefixes import Prefixes
from raygen.engines.torch.passes import Span
from raygen.engines.torch.runner import Stepper
from raygen.engines.torch.sample import Choice, Sample
from raygen.engines.torch.sampling import choose_tokens
from raygen.engines.torch.scheduler import Scheduler
from raygen.engines.torch.stopping import StopRule
from raygen.errors import EngineError
from raygen.models.stable.packed import can_pack
from raygen.models.stable.products import StableProducts
from tests.fakes.tiny_llama import tiny_model

GREEDY = Sampling(temperature=0, max_tokens=24)
WINDOW = {"sliding_window": 24, "use_sliding_window": True, "max_window_layers": 0}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 24},
    "qwen2": WINDOW,
    "qwen3": {"head_dim": 32},
    "gemma2": {"head_dim": 32, "sliding_window": 24, "attn_logit_softcapping": 5.0},
    "gemma3_text": {"head_dim": 32, "sliding_window": 24},
    "phi3": {"pad_token_id": 0, "original_max_position_embeddings": 640},
    "gpt_neox": {},
    "gpt2": {},
    "granite": {"logits_scaling": 3.0},
    "olmo2": {},
    "mixtral": {"num_local_experts": 4, "sliding_window": None},
}


pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Bench:
    """A stepper of its own, small enough to force what an engine seldom does."""

    model: Any
    context: int = 640
    rows: int = 6
    positions: int = 4096
    blocks: int = 64

    def __post_init__(self) -> None:
        self.decoder = Decoder(self.model, self.positions, self.blocks, StableProducts(self.model.device))
        self.memory = Memory(self.positions, self.context, self.rows, self.decoder.cache)
        self.stepper = Stepper(self.decoder, self.memory, Prefixes(self.blocks), self.rows, PIECE)

    def run(self, samples: Sequence[Sample], pause: int = 0) -> Bench:
        """Drive it as the engine does; a sample joins only every `pause` steps."""
        waiting, steps = list(samples), 0
        while waiting or self.stepper.busy:
            joining = 1 if pause and steps % pause == 0 else 0 if pause else len(waiting)
            self.stepper.step(waiting[:joining])
            del waiting[:joining]
            steps += 1
        return self


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_greedy_tokens_are_those_of_transformers_generate(kind: str, monkeypatch: pytest.MonkeyPatch):
    model = tiny_model(kind, **{"max_position_embeddings": 640, **ARCHITECTURES[kind]})
    generator = random.Random(kind)
    vocabulary = model.config.vocab_size
    common = [generator.randrange(2, vocabulary) for _ in range(40)]
    prompts = [
        [generator.randrange(2, vocabulary) for _ in range(n)] for n in (1, 5, 16, 17, 33, 64, 7, 530, 256)
    ]
    prompts += [common + [generator.randrange(2, vocabulary) for _ in range(n)] for n in (0, 1, 8, 9, 87)]
    expected = []
    for ids in prompts:
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=30, do_sample=False, eos_token_id=1, pad_token_id=0
        )
        expected.append(out[0, len(ids) :].tolist())
    assert len({tuple(tokens) for tokens in expected}) > 10
    model.set_attn_implementation(ATTENTION)
    rule = StopRule((), {1}, 30, str)

    def check(bench: Bench, pause: int) -> dict[str, float]:
        samples = [Sample(ids, GREEDY, 0, rule) for ids in prompts]
        bench.run(samples, pause)
        assert [sample.tokens for sample in samples] == expected
        model.set_output_embeddings(bench.decoder._head.head)
        return bench.stepper.figures()

    # Refill, compaction, prompts in pieces, beginnings reused; joins and leaves in the middle.
    assert check(Bench(model), pause=3)["prompt_tokens_reused"] >= 3 * 40
    # No memory to spare: samples move to longer slots, and are preempted.
    monkeypatch.setattr("raygen.engines.torch.scheduler.FIRST_GUESS", 1)
    monkeypatch.setattr(Scheduler, "_expected", lambda self, sample: len(sample.prompt) + 1)
    check(Bench(model, rows=16, positions=least(640), blocks=6), pause=0)


def test_preempted_samples_begin_anew_and_get_the_same_tokens(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model(max_position_embeddings=640)
    model.set_attn_implementation(ATTENTION)
    generator = random.Random(4)
    prompts = [[generator.randrange(2, 260) for _ in range(120)] for _ in range(9)]
    sampling = Sampling(temperature=1, max_tokens=150)

    def tokens_of(positions: int) -> tuple[list[list[int]], float]:
        samples = [Sample(p, sampling, n, StopRule((), (), 150, str)) for n, p in enumerate(prompts)]
        bench = Bench(model, rows=9, positions=positions, blocks=0).run(samples)
        model.set_output_embeddings(bench.decoder._head.head)
        return [sample.tokens for sample in samples], bench.stepper.figures()["preemptions"]

    monkeypatch.setattr(Scheduler, "_expected", lambda self, sample: len(sample.prompt) + 1)
    calm, none = tokens_of(20_000)
    crowded, some = tokens_of(least(640))
    assert (none, calm) == (0, crowded)
    assert some > 3


def test_sampled_tokens_are_those_of_one_text_alone_step_by_step():
    model = tiny_model()
    prompt, sampling = [5, 9, 77, 140], Sampling(temperature=0.9, top_p=0.95, max_tokens=30)
    rule = StopRule((), (), 30, str)
    plain = Sample(prompt, sampling, 1234, rule)
    for _ in range(30):
        logits_V = model(torch.tensor([prompt + plain.tokens]), use_cache=False).logits[0, -1]
        choice = choose_tokens(logits_V[None], [plain])[0]
        assert isinstance(choice, Choice)
        plain.tokens.append(choice.token)
    model.set_attn_implementation(ATTENTION)
    sample = Sample(prompt, sampling, 1234, rule)
    Bench(model, context=160).run([sample])
    assert plain.tokens == sample.tokens


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", ["fused", "products"])
def test_a_token_has_the_same_numbers_in_any_company(
    threads: int, dtype: torch.dtype, way: str, monkeypatch: pytest.MonkeyPatch
):
    """Decoding beside prompts, slots full and with gaps, long neighbours, a prompt whole and in pieces."""
    torch.set_num_threads(threads)
    if way == "products":
        monkeypatch.setattr(AttentionProducts, "fused", None)
    model = tiny_model(
        num_hidden_layers=2, max_position_embeddings=1100, num_attention_heads=6, hidden_size=96
    ).to(dtype)
    model.set_attn_implementation(ATTENTION)
    decoder = Decoder(model, 40 * 1024, 0, StableProducts(model.device))
    prompts = [
        [(7 * i + j * j) % 250 + 4 for j in range(length)]
        for i, length in enumerate([3, 20, 250, 300, 700, 1000, 9, 17])
    ]

    def whole(numbers: Sequence[int], length: int) -> dict[int, torch.Tensor]:
        """Logits after each prompt, in slots of a length, computed together in pieces; then those of two more tokens."""
        slots = {number: Slot(0, length, place) for place, number in enumerate(numbers)}
        done = dict.fromkeys(numbers, 0)
        found: dict[int, list[torch.Tensor]] = {number: [] for number in numbers}
        while any(len(each) < 3 for each in found.values()):
            decode = [n for n in numbers if done[n] >= len(prompts[n])]
            pieces = [n for n in numbers if done[n] < len(prompts[n])]
            ends = {n: min(len(prompts[n]), (done[n] // PIECE + 1) * PIECE) for n in pieces}
            logits_BV = decoder.forward(
                [(Span(slots[n], done[n], done[n] + 1), 11 + n, None) for n in decode],
                [(Span(slots[n], done[n], ends[n]), prompts[n][done[n] : ends[n]], None) for n in pieces],
                range(len(decode) + len(pieces)),
            )
            for row, n in enumerate([*decode, *pieces]):
                done[n] = ends.get(n, done[n] + 1)
                if done[n] >= len(prompts[n]):
                    found[n].append(logits_BV[row].clone())
        return {n: torch.stack(each[:3]) for n, each in found.items()}

    everyone = list(range(len(prompts)))
    together = whole(everyone, 1024)
    for numbers, length in (
        *(([n], 1024) for n in everyone),
        (everyone[::-1], 2048),
        ([6, 1, 3], 512),
        ([2, 0], 256),
        ([0, 1, 7], 128),
    ):
        for n, logits in whole(numbers, length).items():
            assert torch.equal(logits, together[n]), (n, numbers)


@pytest.mark.parametrize("kind", ["mamba", "bloom"])
def test_an_architecture_that_slots_do_not_fit_is_refused(kind: str):
    sizes = {"n_layer": 2, "n_head": 4, "state_size": 4} if kind == "bloom" else {"state_size": 4}
    model = tiny_model(kind, num_key_value_heads=4, **sizes)
    with pytest.raises(EngineError, match="cannot run"):
        Decoder(model, 512, 0, StableProducts(model.device))


def test_a_kind_of_layer_that_a_short_text_would_not_show_is_refused():
    model = tiny_model()
    model.config.layer_types = ["full_attention", "chunked_attention"]
    with pytest.raises(EngineError, match="layers of type chunked_attention"):
        Decoder(model, 512, 0, StableProducts(model.device))


def test_an_attention_that_computes_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model()
    model.set_attn_implementation(ATTENTION)
    Decoder(model, 512, 0, StableProducts(model.device))
    model = tiny_model()
    model.set_attn_implementation(ATTENTION)
    later = torch.tensor([False, True]).repeat(256)
    monkeypatch.setattr(
        "raygen.engines.torch.attention.over_slots.Group.mask",
        lambda self, window: later[None, None, : self.attended],
    )
    with pytest.raises(EngineError, match="differ from those of the model's own attention"):
        Decoder(model, 512, 0, StableProducts(model.device))


@pytest.mark.skipif(
    not can_pack(torch.nn.Linear(2, 2).bfloat16()), reason="no bfloat16 products of oneDNN here"
)
def test_code_that_multiplies_with_weights_past_their_layers_is_noticed():
    model = tiny_model().bfloat16()
    model.set_attn_implementation(ATTENTION)
    mlp = model.model.layers[0].mlp
    mlp.forward = lambda rows: rows @ mlp.gate_proj.weight.T @ mlp.down_proj.weight.T
    with pytest.raises(EngineError, match="differ from those of the model's own attention"):
        Decoder(model, 512, 0, StableProducts(model.device))
