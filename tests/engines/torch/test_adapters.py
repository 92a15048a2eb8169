"""LoRA adapters: several in one batch, each row as if its adapter were merged into the model, in any company."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.engines.torch.engine import TorchEngine
from raygen.errors import EngineConfigError, RowError
from raygen.models.resolved import ResolvedAdapter, ResolvedModel
from raygen.models.text.lora import load_lora
from tests.fakes.tiny_llama import save_tiny, tiny_model, tiny_tokenizer

TARGETS = {"llama": ("q_proj", "v_proj", "o_proj", "down_proj"), "gpt2": ("c_attn", "c_proj")}
NAMES = (None, "one", "two", "three")


def layers_of(model: Any, kind: str) -> dict[str, torch.nn.Module]:
    return {name: m for name, m in model.named_modules() if name.rpartition(".")[2] in TARGETS[kind]}


def save_lora(folder: Path, model: Any, kind: str, seed: int, rank: int = 4, **config: Any) -> Path:
    """Write a random adapter as PEFT would."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, layer in layers_of(model, kind).items():
        weight = next(layer.parameters())
        inputs, outputs = weight.shape if kind == "gpt2" else weight.shape[::-1]
        for part, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            tensors[f"base_model.model.{name}.lora_{part}.weight"] = 0.3 * torch.randn(
                shape, generator=generator
            )
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted({name.split(".lora_")[0].rsplit(".", 1)[-1] for name in tensors})
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 6, "target_modules": targets, "bias": "none"}
    settings |= {"use_dora": False, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def merged(kind: str, folder: Path | None) -> Any:
    """The model with an adapter added to its weights: what the adapter means."""
    model = tiny_model(kind)
    for name, part in (load_lora(str(folder)) if folder else {}).items():
        weight = next(model.get_submodule(name).parameters())
        added = part.scale * part.b_OR @ part.a_RI
        weight.data += added.T if kind == "gpt2" else added
    return model


@pytest.fixture(scope="module", params=TARGETS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    save_tiny(folder / "model", tiny_model(kind))
    for seed, name in enumerate(filter(None, NAMES), 1):
        save_lora(folder / name, tiny_model(kind), kind, seed, rank=3 * seed, use_rslora=name == "two")
    return kind, folder


def engine_of(
    folder: Path, names: Sequence[str] = NAMES[1:], dtype: str = "float32", **options: Any
) -> TorchEngine:  # type: ignore[assignment]
    spec = ModelSpec(
        family="causal_lm",
        engine="torch",
        ref=str(folder / "model"),
        dtype=dtype,  # type: ignore[arg-type]
        adapters={name: str(folder / name) for name in names},
        options={"threads": 1, **options},
    )
    adapters = {name: ResolvedAdapter("r", str(folder / name), "d") for name in names}
    return TorchEngine(ResolvedModel("tiny", spec, str(folder / "model"), "sha256:0", adapters))


def answers(engine: TorchEngine, requests: Sequence[GenerateRequest]) -> list[Any]:
    async def run() -> list[Any]:
        await engine.start()
        try:
            return await asyncio.gather(*map(engine.generate, requests), return_exceptions=True)
        finally:
            await engine.close()

    return asyncio.run(run())


def requests_of(count: int, sampling: Sampling) -> list[GenerateRequest]:
    rng = random.Random(4)
    texts = ["".join(rng.choices("abcdefgh the", k=rng.choice([2, 9, 30, 60]))) for _ in range(count)]
    return [
        GenerateRequest(str(n), [{"role": "user", "content": text}], sampling, [n], NAMES[n % len(NAMES)])
        for n, text in enumerate(texts)
    ]


def test_each_row_gets_the_tokens_of_its_adapter_merged(made: tuple[str, Path]):
    kind, folder = made
    requests = requests_of(24, Sampling(temperature=0, max_tokens=16))
    found: list[GenerateResult] = answers(engine_of(folder, max_batch=16), requests)
    tokenizer = tiny_tokenizer()
    models = {name: merged(kind, folder / name if name else None) for name in NAMES}
    plain = 0
    for request, result in zip(requests, found, strict=True):
        prompt = tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, return_tensors="pt"
        )
        prompt = prompt if isinstance(prompt, torch.Tensor) else prompt["input_ids"]

        def expected(model: Any, prompt: torch.Tensor = prompt) -> list[int]:
            with torch.inference_mode():
                ids = model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    do_sample=False,
                    max_new_tokens=16,
                    pad_token_id=0,
                )
            return ids[0, prompt.shape[1] :].tolist()

        assert result.samples[0].token_ids == expected(models[request.adapter]), request.adapter
        plain += result.samples[0].token_ids == expected(models[None])
    assert plain < 12, "the adapters change too little to tell anything"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_is_the_same_in_any_company(made: tuple[str, Path], dtype: str):
    _, folder = made
    requests = requests_of(32, Sampling(temperature=1, max_tokens=12))
    shuffled = random.Random(1).sample(requests, len(requests))
    seen: dict[str, set[tuple[int, ...]]] = {request.row_id: set() for request in requests}
    compositions: list[tuple[list[GenerateRequest], dict[str, Any]]] = [
        (requests, {"max_batch": 64}),
        (shuffled, {"max_batch": 5}),
        (requests[::-1], {"max_batch": 16, "threads": 2}),
        (requests, {"max_batch": 1}),
    ]
    for order, options in compositions:
        for request, result in zip(
            order, answers(engine_of(folder, dtype=dtype, **options), order), strict=True
        ):
            seen[request.row_id].add(tuple(result.samples[0].token_ids))
    assert [row for row, tokens in seen.items() if len(tokens) > 1] == []


def test_an_adapter_that_is_resident_changes_no_other_row(made: tuple[str, Path]):
    _, folder = made
    requests = [r for r in requests_of(16, Sampling(temperature=0, max_tokens=12)) if r.adapter is None]
    with_others = answers(engine_of(folder), requests)
    assert with_others == answers(engine_of(folder, ()), requests)


def test_an_unknown_adapter_fails_its_row_only(made: tuple[str, Path]):
    good, bad = requests_of(2, Sampling(temperature=0, max_tokens=4))
    bad.adapter = "four"
    found = answers(engine_of(made[1]), [good, bad])
    assert isinstance(found[0], GenerateResult)
    assert isinstance(found[1], RowError)
    assert found[1].code == "unknown_adapter"
    assert "adapters: one, two, three" in str(found[1])


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "sets use_dora, which raygen does not know"),
        ({"bias": "all", "rank_pattern": {"a": 2}}, "sets rank_pattern, bias"),
        ({"peft_type": "IA3"}, "has no peft_type LORA"),
        ({"lora_alpha": None}, "lora_alpha None, not a number"),
    ],
)
def test_other_kinds_are_refused_at_the_start(tmp_path: Path, config: dict[str, Any], reason: str):
    folder = save_lora(tmp_path / "odd", tiny_model(), "llama", 1, **config)
    with pytest.raises(EngineConfigError, match=reason):
        load_lora(str(folder))


def test_an_adapter_of_another_model_is_refused(tmp_path: Path):
    save_tiny(tmp_path / "model")
    save_lora(tmp_path / "wide", tiny_model(intermediate_size=128), "llama", 1)
    save_lora(tmp_path / "deep", tiny_model(num_hidden_layers=3), "llama", 1)
    with pytest.raises(
        EngineConfigError, match=r"'wide' is of another model: its .*down_proj takes 128 to 64"
    ):
        answers(engine_of(tmp_path, ["wide"]), [])
    with pytest.raises(EngineConfigError, match=r"'deep' changes .*layers.2.*no linear layer inside"):
        answers(engine_of(tmp_path, ["deep"]), [])


def test_broken_files_are_refused(tmp_path: Path):
    folder = save_lora(tmp_path / "a", tiny_model(), "llama", 1)
    (folder / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(EngineConfigError, match="cannot read a LoRA adapter"):
        load_lora(str(folder))
    save_file({"base_model.model.x.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    with pytest.raises(EngineConfigError, match="no part of a plain LoRA"):
        load_lora(str(folder))
