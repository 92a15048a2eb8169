"""Hardware: quotas, little memory, a small /dev/shm, slow CPUs and GPUs that PyTorch cannot use are told, with what to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raygen.doctor.hardware import (
    check_cores_and_memory,
    check_cpu,
    check_gpus,
    check_shared_memory,
    driver_gpus,
)
from raygen.limits import Limits

GIB = 2**30
EPYC = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512_bf16 sse\n\nprocessor\t: 1\nflags\t\t: x\n"
GRAVITON = "processor\t: 0\nFeatures\t: fp asimd asimdhp sve bf16 i8mm\n"


def fake_torch(cuda: str | None, *gpus: str) -> Any:
    return SimpleNamespace(
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(
            is_available=lambda: bool(gpus),
            device_count=lambda: len(gpus),
            get_device_properties=lambda n: SimpleNamespace(
                name=gpus[n], total_memory=80 * GIB, major=9, minor=0
            ),
        ),
    )


def test_plenty_is_fine() -> None:
    cores, memory = check_cores_and_memory(Limits(8, None, 32 * GIB, 30 * GIB))
    assert (cores.state, cores.value) == ("ok", "8 usable")
    assert (memory.state, memory.value) == ("ok", "32.0 GiB usable, 30.0 GiB of it free")


def test_a_quota_below_the_cores_is_a_warning() -> None:
    cores, _ = check_cores_and_memory(Limits(64, 1.5, 32 * GIB, 30 * GIB))
    assert cores.state == "warning"
    assert cores.value == "time of 1.5 cores (a quota), on any of 64"
    assert "--cpuset-cpus" in cores.remedy


def test_a_quota_of_all_cores_is_none() -> None:
    assert check_cores_and_memory(Limits(4, 4.0, 32 * GIB, 30 * GIB))[0].state == "ok"


def test_little_memory_is_a_warning() -> None:
    memory = check_cores_and_memory(Limits(4, None, 32 * GIB, GIB))[1]
    assert memory.state == "warning"
    assert "--inline" in memory.remedy


def test_memory_that_is_not_known_is_no_warning() -> None:
    assert check_cores_and_memory(Limits(4, None, None, None))[1].state == "ok"
    assert check_cores_and_memory(Limits(4, None, 32 * GIB, None))[1].value == "32.0 GiB usable"


def test_the_shared_memory_of_a_plain_container_is_too_small_for_ray() -> None:
    (found,) = check_shared_memory(64 * 2**20)
    assert found.state == "warning"
    assert found.value == "64 MiB free in /dev/shm"
    assert "--shm-size" in found.remedy
    assert check_shared_memory(2 * GIB)[0].state == "ok"


def test_a_cpu_is_named_with_the_features_that_matter() -> None:
    (found,) = check_cpu(EPYC)
    assert found.state == "ok"
    assert found.value == "AMD EPYC: avx2, avx512f, avx512_bf16 (with instructions for bfloat16)"
    assert found.facts["features"] == ["avx2", "avx512f", "avx512_bf16"]


def test_arm_has_features_of_its_own() -> None:
    (found,) = check_cpu(GRAVITON)
    assert found.state == "ok"
    assert found.facts["features"] == ["asimd", "asimdhp", "bf16", "i8mm", "sve"]
    assert "with instructions for bfloat16" in found.value


def test_a_cpu_without_avx2_is_a_warning() -> None:
    assert check_cpu("model name: Old\nflags: fpu sse2\n")[0].state == "warning"


def test_a_cpu_that_tells_nothing_is_named_all_the_same() -> None:
    (found,) = check_cpu("")
    assert found.state == "ok"
    assert found.value


def test_gpus_are_listed() -> None:
    (found,) = check_gpus(fake_torch("12.9", "H200", "H200"), lambda: ["H200", "H200"])
    assert found.state == "ok"
    assert found.value == "H200 (80.0 GiB), H200 (80.0 GiB); CUDA 12.9"
    assert found.facts["gpus"][1] == {"name": "H200", "memory_bytes": 80 * GIB, "capability": "9.0"}


def test_no_gpu_is_fine() -> None:
    assert check_gpus(fake_torch(None), list)[0].state == "ok"


@pytest.mark.parametrize(("cuda", "remedy"), [(None, "built for CPUs"), ("12.9", "newer driver")])
def test_a_gpu_that_pytorch_cannot_use_is_a_warning(
    cuda: str | None, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (found,) = check_gpus(fake_torch(cuda), lambda: ["H200"])
    assert found.state == "warning"
    assert remedy in found.remedy


def test_a_gpu_that_the_user_hides_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert check_gpus(fake_torch("12.9"), lambda: ["H200"])[0].state == "ok"


def test_the_drivers_gpus_are_read_without_pytorch(tmp_path: Path) -> None:
    folder = tmp_path / "0000:01:00.0"
    folder.mkdir()
    (folder / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 16\n")
    assert driver_gpus(tmp_path) == ["NVIDIA H200"]
    assert driver_gpus(tmp_path / "none") == []
