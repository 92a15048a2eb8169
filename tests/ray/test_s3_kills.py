"""A run on S3, source and output, killed ten times in a row at any moment: the outcomes of one that never was.

One of the ten sessions is on Ray; with RAYGEN_FULL=1 all are.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

import raygen
from raygen.pipeline.run import run_job
from raygen.program.job import load_job
from tests.ray import cases
from tests.ray.processes import end_tree, of_session

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

Cli = Callable[..., Any]
FULL = bool(os.environ.get("RAYGEN_FULL"))
KILLS = 10
ON_RAY = set(range(KILLS)) if FULL else {4}
BUCKET = "raygen-kills"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


def objects_below(client: Any, prefix: str) -> dict[str, bytes]:
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for item in page.get("Contents", ()):
            body = client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            found[item["Key"].removeprefix(prefix)] = body
    return found


def commits(client: Any) -> int:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="run/commits/")
    return sum(page["KeyCount"] for page in pages)


def test_ten_kills_change_nothing(s3: Any, cli: Cli, tmp_path: Path) -> None:
    rows, chunk_rows, chance = 1200, 10, random.Random(3)
    job = cases.write_job(
        tmp_path,
        rows,
        chunk_rows,
        source={"format": "parquet", "uri": f"s3://{BUCKET}/in/rows.parquet", "key": "id"},
        models=cases.echo_model(delay_s=0.25, concurrency=10),
        execution={"chunks_in_flight": 1},
        keep=["topic"],
        output=f"s3://{BUCKET}/run",
    )
    s3.upload_file(str(tmp_path / "rows.parquet"), BUCKET, "in/rows.parquet")
    progress = []
    for kill in range(KILLS):
        before = commits(s3)
        inline = [] if kill in ON_RAY else ["--inline"]
        process = subprocess.Popen(
            cases.raygen("run", job, "-q", *inline),
            env=cases.alone(),
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        if kill % 2 == 0:  # half of the moments after a commit, however slowly the machine starts a process
            while commits(s3) == before and process.poll() is None:
                time.sleep(0.05)
        time.sleep(chance.uniform(0.3, 4))
        assert process.poll() is None, "it finished before it was killed"
        process.kill()
        process.wait()
        for orphan in of_session(process.pid):
            end_tree(orphan.pid)
        progress.append(commits(s3) - before)
    assert cli("run", job, "-q", "--inline", "--set", "models.writer.options={}").code == 0

    objects = objects_below(s3, "run/")
    cases.assert_exact(objects, cases.expected(rows, chunk_rows))
    run_job(load_job(job, ["models.writer.options={}"], output_uri=f"s3://{BUCKET}/calm"), inline=True)
    killed, calm = (raygen.open_run(f"s3://{BUCKET}/{name}").to_arrow() for name in ("run", "calm"))
    assert killed.equals(calm)
    verified = cli("verify", f"s3://{BUCKET}/run", "--replay", "5%")
    assert verified.code == 0, verified.out
    orphans = sum(key.startswith("data/") for key in objects) - rows // chunk_rows
    print(f"\nkilled {KILLS} times; chunks committed in between: {progress}; orphans: {orphans}")
    assert sum(each > 0 for each in progress) >= 5
