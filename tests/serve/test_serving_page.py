"""What the page of serving and the README show is so: the file, the call by curl, the call in Python, the headers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from raygen.serve.config import ServiceConfig
from tests.fakes.batch_service import running

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "docs/serving.md")}
ADDRESS = "http://127.0.0.1:8000"


def block(page, language, word):
    """Return the page's block of a language with a word in it."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)
    (found,) = (text for of, text in blocks if of == language and word in text)
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    models = {"smol": {"family": "causal_lm", "engine": "echo", "options": {"output_tokens": 3}}}
    config = {"store": str(tmp_path_factory.mktemp("store")), "models": models}
    with running(ServiceConfig.model_validate(config), work=False) as found:
        yield found


def test_the_file_is_one():
    (text,) = re.findall(r"<!-- service -->\n```yaml\n(.*?)```", PAGES["docs/serving.md"], re.DOTALL)
    assert ServiceConfig.model_validate(yaml.safe_load(text)).models["smol"].bound == 64


@pytest.mark.parametrize("page", PAGES)
def test_three_lines_of_python_are_answered(page, service, capsys):
    code = block(page, "python", "OpenAI").replace(ADDRESS, service.url)
    exec(compile(code, page, "exec"), {})
    assert len(capsys.readouterr().out.split()) == 3


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_call_by_curl_is_answered(page, service):
    call = shlex.split(block(page, "", "curl").replace("\\\n", " ").replace(ADDRESS, service.url))
    told = json.loads(subprocess.run([*call, "-s"], capture_output=True, check=True, timeout=30).stdout)
    assert told["choices"][0]["finish_reason"] == "stop"
