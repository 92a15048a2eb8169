"""What a causal LM is computed in, by what the CPU can."""

import pytest

from raygen.models.text.causal_lm import pays_off

INTEL = {"architecture": "x86_64", "cpu_name": "Intel Xeon"}
AMD = {"architecture": "x86_64", "cpu_name": "AMD EPYC 9R14"}


@pytest.mark.parametrize(
    ("dtype", "cpu", "expected"),
    [
        ("bfloat16", AMD | {"avx512_bf16": True}, True),
        ("bfloat16", INTEL | {"avx512_bf16": True}, False),
        ("bfloat16", INTEL | {"avx512_bf16": True, "amx_bf16": True}, True),
        ("bfloat16", AMD, False),
        ("float16", INTEL | {"avx512_bf16": True}, False),
        ("float16", INTEL | {"avx512_fp16": True}, True),
        ("bfloat16", {"architecture": "aarch64"}, True),
        ("bfloat16", {"architecture": "x86_64"}, False),
    ],
)
def test_sixteen_bits_are_computed_where_they_are_faster(dtype: str, cpu: dict[str, object], expected: bool):
    assert pays_off(dtype, cpu) is expected
