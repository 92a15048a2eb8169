"""What vLLM is told, and what a job without vLLM is told; no vLLM is needed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from raygen.config.constraint import Constraint
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.vllm import engine as vllm_engine
from raygen.engines.vllm.engine import VLLMEngine
from raygen.engines.vllm.params import engine_args, lora_args, sampling_params, structured_outputs
from raygen.errors import EngineConfigError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.program.checks import check_model


def engine_of(**options: Any) -> VLLMEngine:
    spec = ModelSpec(family="causal_lm", engine="vllm", ref="./model", dtype="bfloat16", options=options)
    return VLLMEngine(ResolvedModel("tiny", spec, "/models/tiny", "sha256:0"))


def test_every_sampling_setting_reaches_vllm():
    sampling = Sampling(
        temperature=0.7,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        repetition_penalty=1.1,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={5: 2.0},
        max_tokens=100,
        min_tokens=3,
        stop=("END", "##"),
        stop_token_ids=(9,),
        logprobs=2,
    )
    said = sampling_params(sampling, seed=7, limit=50, end_ids={1, 2}, vocabulary=1000)
    given = sampling.model_dump()
    for name in sorted(set(given) - {"max_tokens", "stop", "stop_token_ids"}):
        assert said.pop(name) == given[name], name
    assert said == {
        "max_tokens": 50,
        "stop": ["END", "##"],
        "stop_token_ids": [1, 2, 9],
        "seed": 7,
    }


def test_a_context_with_less_room_than_min_tokens_is_no_error():
    said = sampling_params(Sampling(min_tokens=20, max_tokens=30), 1, limit=4, end_ids=(), vocabulary=10)
    assert (said["min_tokens"], said["max_tokens"]) == (4, 4)


@pytest.mark.parametrize("sampling", [Sampling(logit_bias={10: 1.0}), Sampling(stop_token_ids=(3, 10))])
def test_a_token_outside_the_vocabulary_fails_the_row_and_not_the_process(sampling: Sampling):
    with pytest.raises(RowError, match="token 10; the model's tokens are 0 to 9") as refused:
        sampling_params(sampling, 1, limit=4, end_ids=(), vocabulary=10)
    assert refused.value.code == "invalid_sampling"


def test_engine_arguments_follow_the_options():
    engine = engine_of(max_batch=17, context_tokens=999, tensor_parallel=2, kv_cache_gib=1.5)
    said = engine_args(engine.model, engine.options, 500, cpu=False)
    assert said["max_model_len"] == 500  # the model's own limit is less
    assert (said["max_num_seqs"], said["tensor_parallel_size"]) == (17, 2)
    assert (said["dtype"], said["model"]) == ("bfloat16", "/models/tiny")
    assert said["kv_cache_memory_bytes"] == 3 * 2**29
    assert said["distributed_executor_backend"] == "mp"
    assert (said["enable_prefix_caching"], said["trust_remote_code"]) == (True, False)
    assert said["load_format"] == "safetensors"
    assert said["structured_outputs_config"] == {"backend": "guidance"}
    plain = engine_of()
    assert engine_args(plain.model, plain.options, 500, cpu=False)["kv_cache_memory_bytes"] is None
    assert engine_args(plain.model, plain.options, 500, cpu=True)["kv_cache_memory_bytes"] == 2**32
    assert plain.capacity == 256


def test_without_vllm_the_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: None)
    with pytest.raises(EngineConfigError) as refused:
        asyncio.run(engine_of().start())
    assert "pip install 'raygen[vllm]'" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_options_are_refused():
    spec = ModelSpec(family="causal_lm", engine="vllm", ref="./model", options={"gpu_memory": 0.5})
    with pytest.raises(ValueError, match="options of engine 'vllm'"):
        check_model(spec)


def test_the_module_of_the_engine_does_not_load_vllm():
    code = (
        "import sys, raygen.engines.vllm.engine; print({'vllm', 'torch', 'transformers'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def test_adapters_get_the_smallest_rank_that_vllm_knows():
    assert lora_args(0, 0) == {}
    assert lora_args(2, 9) == {"enable_lora": True, "max_loras": 3, "max_lora_rank": 16}
    assert lora_args(1, 8)["max_lora_rank"] == 8
    with pytest.raises(EngineConfigError, match="rank 600; vLLM takes at most 512"):
        lora_args(1, 600)


def test_a_constraint_is_the_grammar_that_the_torch_engine_has():
    schema = {
        "type": "object",
        "properties": {"z": {"type": "null"}, "a": {"const": None}},
        "required": ["z", "a"],
    }
    said = [
        structured_outputs(Constraint.model_validate(given))
        for given in (
            {"choice": ["yes", "no"]},
            {"regex": r"a/\d"},
            {"grammar": "start: /a+/"},
            {"json_schema": schema},
        )
    ]
    assert said[:3] == [{"choice": ["yes", "no"]}, {"regex": r"a\/[0-9]"}, {"grammar": "start: /a+/"}]
    # As vLLM's backend does it; a schema's own `x-guidance` goes before its defaults.
    grammar = LLMatcher.grammar_from_json_schema(said[3]["json"], defaults={"whitespace_flexible": True})
    for text, fits in (
        ('{"z": null,"a":null}', True),
        ('{"a": null, "z": null}', False),
        ('{"z":  null, "a": null}', False),
    ):
        matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0)
        assert (matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()) == fits, text
