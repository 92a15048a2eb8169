"""The files of serve_configs/: what Ray Serve understood of each is what stands there, and what stands there is a service."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from raygen.errors import ConfigError
from raygen.serve.config import IMPORT_PATH, load_service
from tests.serve.cluster.streams import listen
from tests.serve.on_ray import OnRay

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "serve_configs").glob("*.yaml"))


def understood(given: Any, taken: Any, where: str) -> list[str]:
    """Return where what was taken is not what was given: Serve drops what it does not know in silence."""
    if isinstance(given, dict):
        lacks = [f"{where}.{key}" for key in given if key not in taken]
        return lacks + [
            line
            for key, value in given.items()
            if key in taken
            for line in understood(value, taken[key], f"{where}.{key}")
        ]
    if isinstance(given, list):
        pairs = enumerate(zip(given, taken, strict=True))
        return [line for number, (a, b) in pairs for line in understood(a, b, f"{where}.{number}")]
    return [] if given == taken else [where]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_serve_understands_every_key(path: Path) -> None:
    given = yaml.safe_load(path.read_text())
    assert understood(given, ServeDeploySchema.model_validate(given).model_dump(mode="json"), path.name) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_says_where_to_listen_and_all_else_stands_in_args(path: Path) -> None:
    given = yaml.safe_load(path.read_text())
    assert set(given) == {"proxy_location", "http_options", "applications"}
    assert given["http_options"] == {"host": "127.0.0.1"}
    [application] = given["applications"]
    assert set(application) == {"name", "route_prefix", "import_path", "args"}
    assert application["import_path"] == IMPORT_PATH


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_a_service(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_service(path)
    assert all(Path(program.job).is_file() for program in config.programs.values())


def test_a_key_that_serve_would_drop_is_found_by_this_test_s_own_comparison() -> None:
    given = {"http_options": {"hots": "127.0.0.1"}, "applications": []}
    taken = ServeDeploySchema.model_validate(given).model_dump(mode="json")
    assert understood(given, taken, "file") == ["file.http_options.hots"]


@pytest.mark.parametrize(
    ("applications", "said"),
    [
        ([], "0 with import_path"),
        ("x", "0 with import_path"),
        ([{"import_path": IMPORT_PATH}] * 2, "2 with import_path"),
        ([{"import_path": IMPORT_PATH}], r"applications\.0\.args"),
        ([{"import_path": IMPORT_PATH, "args": {"modles": {}}}], r"applications\.0\.args: .*modles"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_by_its_place(applications: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump({"applications": applications}))
    with pytest.raises(ConfigError, match=said):
        load_service(path)


DEPLOYED = {"laptop": (ROOT / "serve_configs" / "laptop.yaml").read_text()}
if os.environ.get("RAYGEN_FULL"):
    kept = yaml.safe_load((ROOT / "deploy" / "kuberay" / "service.yaml").read_text())
    DEPLOYED["kuberay"] = kept["spec"]["serveConfigV2"]

DEPLOY = """
import time, yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema
from raygen.serve.cluster.private import serve_client
serve_client().deploy_apps(ServeDeploySchema.model_validate(yaml.safe_load(open(sys.argv[1]))))
time.sleep(1)
for _ in range(600):
    found = serve.status().applications["raygen"]
    if found.status in ("RUNNING", "DEPLOY_FAILED"):
        break
    time.sleep(0.1)
print(found.status.value, found.message)
"""


@pytest.mark.ray
@pytest.mark.parametrize("text", DEPLOYED.values(), ids=DEPLOYED)
def test_a_file_takes_the_place_of_a_running_service_and_no_request_is_lost(
    service: OnRay, tmp_path: Path, text: str
) -> None:
    """A file with models that need no weights, as `serve deploy` does it, while people ask."""
    given = yaml.safe_load(text)
    running = yaml.safe_load(service.config.read_text())
    smol = {"family": "causal_lm", "engine": "echo", "cpus_per_replica": 0.1}
    given["applications"][0]["args"] = {**running, "models": {**running["models"], "smol": smol}}
    del given["http_options"]  # those of a running Serve stay
    given["proxy_location"] = "HeadOnly"
    path = tmp_path / "laptop.yaml"
    path.write_text(yaml.safe_dump(given))
    over = threading.Event()
    answers: list[int | str] = []

    def asking(model: str) -> None:
        while not over.is_set():
            answers.append(service.chat(model).status_code)
            time.sleep(0.05)

    def listening() -> None:
        while not over.is_set():
            answers.append(listen(service, 1).end)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(asking, model) for model in ("echo", "echo")]
        heard = [pool.submit(listening) for _ in range(2)]
        try:
            assert service.driver(DEPLOY, str(path)).startswith("RUNNING")
            found = service.chat("smol")
        finally:
            over.set()
        for each in (*asked, *heard):
            each.result()
    assert found.json()["model"] == "smol", found.text
    assert set(answers) == {200, "done"}, answers
    assert len(answers) > 20
