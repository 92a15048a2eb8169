"""The engine host and the program: every row becomes exactly one outcome, whatever its engine does."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from raygen.data.sources.base import ERROR_CODE, ERROR_MESSAGE, JSON, ROW_ID, SourcePlan
from raygen.engines import ENGINES
from raygen.engines.base import Engine
from raygen.engines.requests import GeneratedSample, GenerateRequest, GenerateResult, TokenLogprob
from raygen.errors import ConfigError, EngineError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.program.host import EngineHost, chunks_in_flight
from raygen.program.job import Job
from raygen.program.program import Program
from tests.fakes.echo_jobs import echo_job


class OddEngine(Engine):
    """Answers by the words of the prompt."""

    needs_ref = False
    has_weights = False
    together: ClassVar[int] = 0
    most: ClassVar[int] = 0

    @property
    def capacity(self) -> int:
        return 4

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        OddEngine.together += 1
        OddEngine.most = max(OddEngine.most, OddEngine.together)
        await asyncio.sleep(0)
        OddEngine.together -= 1
        prompt = request.messages[-1]["content"]
        if "long" in prompt:
            raise RowError("prompt_too_long", "too long")
        if "bug" in prompt:
            raise ZeroDivisionError("a bug")
        if "exits" in prompt:
            raise SystemExit(5)
        if "broken" in prompt:
            raise EngineError("the engine is broken")
        texts = ["", " "] if "empty" in prompt else [prompt, ""]
        reason = "content_filter" if "filtered" in prompt else "stop"
        if "filtered" in prompt:
            texts = ["", ""]
        if "short" in prompt:
            texts = texts[:1]
        if "half" in prompt:
            texts = ["\ud83d", ""]  # of a surrogate pair
        logprobs = None
        if request.sampling.logprobs is not None:
            logprobs = [TokenLogprob(7, "a", -0.5, [(7, "a", -0.5)]), TokenLogprob(None, "b", -1.0)]
        return GenerateResult([GeneratedSample(text, reason, 2, logprobs=logprobs) for text in texts], 3)


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setitem(ENGINES.own, "odd", "tests.program.test_host:OddEngine")
    OddEngine.most = 0
    return echo_job("in", "out", models={"writer": {"family": "causal_lm", "engine": "odd"}})


def rows(texts: list[str | None], broken: tuple[int, ...] = ()) -> pa.Table:
    return pa.table(
        {
            ROW_ID: [f"r{n}" for n in range(len(texts))],
            ERROR_CODE: pa.array(
                ["broken_json" if n in broken else None for n in range(len(texts))], pa.string()
            ),
            ERROR_MESSAGE: pa.array(
                ["line 1" if n in broken else None for n in range(len(texts))], pa.string()
            ),
            "text": pa.array(texts, pa.string()),
            "topic": pa.array(["t"] * len(texts), pa.string()),
        }
    )


def run(job: Job, table: pa.Table, kept: dict[str, pa.DataType] | None = None) -> list[dict[str, Any]]:
    models = {name: ResolvedModel(name, spec, None, "odd:1") for name, spec in job.models.items()}
    host = EngineHost(job, models, "hash", {"topic": pa.string()} if kept is None else kept)
    host.start()
    try:
        return host.run_chunk(table).outcomes.to_pylist()
    finally:
        host.close()


def test_who_comes_to_a_closed_host_does_not_wait_for_ever(odd: Job) -> None:
    """A thread that read its chunk while another one met a broken engine."""
    models = {name: ResolvedModel(name, spec, None, "odd:1") for name, spec in odd.models.items()}
    host = EngineHost(odd, models, "hash", {})
    host.start()
    host.close()
    ended: list[str] = []

    def come() -> None:
        with suppress(CancelledError):
            host.run_chunk(rows(["fine"]))
        ended.append("cancelled")

    thread = threading.Thread(target=come, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert ended == ["cancelled"]


def test_one_bad_row_never_hurts_another(odd: Job) -> None:
    found = run(odd, rows(["fine", "long", "bug", None, "fine too", "short"], broken=(4,)))
    assert [(r["row_id"], r["status"], r["reason"]) for r in found] == [
        ("r0", "accepted", None),
        ("r1", "failed", "prompt_too_long"),
        ("r2", "failed", "internal_error"),
        ("r3", "failed", "missing_value"),
        ("r4", "failed", "broken_json"),
        ("r5", "failed", "bad_answer"),
    ]
    assert found[2]["error"] == {
        "code": "internal_error",
        "message": "ZeroDivisionError: a bug",
        "step": "generate",
    }
    assert found[4]["error"]["step"] == "read"


def test_log_probabilities_reach_the_outcome(odd: Job) -> None:
    [plain] = run(odd, rows(["fine"]))
    assert [[each["logprobs"] for each in plain[kind]] for kind in ("samples", "discarded")] == [
        [None],
        [None],
    ]
    step = odd.steps[0].generate
    asking = step.model_copy(update={"sampling": step.sampling.model_copy(update={"logprobs": 1})})
    job = odd.model_copy(update={"steps": (odd.steps[0].model_copy(update={"generate": asking}),)})
    [row] = run(job, rows(["fine"]))
    assert row["samples"][0]["logprobs"] == [
        {
            "token_id": 7,
            "token": "a",
            "logprob": -0.5,
            "top": [{"token_id": 7, "token": "a", "logprob": -0.5}],
        },
        {"token_id": None, "token": "b", "logprob": -1.0, "top": []},
    ]


def test_rows_without_text_are_rejected_with_the_reason(odd: Job) -> None:
    found = run(odd, rows(["empty", "filtered", "fine"]))
    assert [(r["status"], r["reason"]) for r in found] == [
        ("rejected", "empty_output"),
        ("rejected", "content_filter"),
        ("accepted", None),
    ]
    assert len(found[0]["samples"]) == 2


def test_a_broken_engine_is_raised_not_recorded(odd: Job) -> None:
    with pytest.raises(EngineError, match="the engine is broken"):
        run(odd, rows(["fine", "broken", "fine"]))


def test_what_wants_to_end_the_process_ends_its_row(odd: Job) -> None:
    found = run(odd, rows(["fine", "exits", "fine too"]))
    assert [(row["status"], row["reason"]) for row in found] == [
        ("accepted", None),
        ("failed", "internal_error"),
        ("accepted", None),
    ]


def test_an_engine_that_exits_as_it_starts_is_broken(odd: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: Engine) -> None:
        raise SystemExit(5)

    monkeypatch.setattr(OddEngine, "start", start)
    with pytest.raises(EngineError, match=r"sys\.exit\(5\)"):
        run(odd, rows(["fine"]))


def test_no_more_rows_than_the_lookahead_are_in_the_engine(odd: Job) -> None:
    run(odd, rows(["fine"] * 100))
    assert OddEngine.most == 8


def test_the_first_chunk_has_a_head_start_where_requests_share_steps(
    odd: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    ended_before: dict[str, int] = {}
    ended = 0

    async def generate(engine: OddEngine, request: GenerateRequest) -> GenerateResult:
        nonlocal ended
        order.append(request.row_id)
        ended_before[request.row_id] = ended
        await asyncio.sleep(0.05)
        ended += 1
        return GenerateResult([GeneratedSample("x", "stop", 1)] * 2, 3)

    def begun(shares: bool, head_start_s: float, capacity: int = 4) -> list[str]:
        nonlocal ended
        order.clear()
        ended = 0
        monkeypatch.setattr(OddEngine, "capacity", capacity)
        monkeypatch.setattr(OddEngine, "shares_steps", shares)
        monkeypatch.setattr("raygen.program.host.HEAD_START_S", head_start_s)
        models = {"writer": ResolvedModel("writer", odd.models["writer"], None, "odd:1")}
        host = EngineHost(odd, models, "hash", {"topic": pa.string()})
        host.start()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(host.run_chunk, rows(["a"] * 20))
            time.sleep(0.02)
            pool.submit(host.run_chunk, rows(["b"] * 3).set_column(0, ROW_ID, [["s0", "s1", "s2"]])).result()
            first.result()
        host.close()
        return order

    monkeypatch.setattr(OddEngine, "generate", generate)
    assert begun(shares=True, head_start_s=10)[-3:] == ["s0", "s1", "s2"]
    assert "s0" in begun(shares=True, head_start_s=0.01)[:-1][:16]  # and not for ever
    assert "s0" in begun(shares=False, head_start_s=10)[:16]
    # 20 + 3 rows: one more than an eighth of the lookahead, and as many.
    begun(shares=True, head_start_s=10, capacity=4 * 22)
    assert ended_before["s0"] == 20
    begun(shares=True, head_start_s=10, capacity=4 * 23)
    assert ended_before["s0"] == 0


def test_chunks_in_flight_keep_the_engine_full(odd: Job) -> None:
    models = {"writer": ResolvedModel("writer", odd.models["writer"], None, "odd:1")}
    assert chunks_in_flight(odd, models) == 2
    small = odd.model_copy(update={"sink": odd.sink.model_copy(update={"chunk_rows": 1})})
    assert chunks_in_flight(small, models) == 17


def test_a_kept_value_of_another_type_fails_its_row_alone(odd: Job) -> None:
    table = pa.table(
        {
            ROW_ID: ["a", "b", "c"],
            ERROR_CODE: pa.nulls(3, pa.string()),
            ERROR_MESSAGE: pa.nulls(3, pa.string()),
            JSON: pa.array(
                [b'{"text":"x","topic":1}', b'{"text":"x","topic":"one"}', b'{"text":"x"}'], pa.large_binary()
            ),
        }
    )
    found = run(odd, table, kept={"topic": pa.int64()})
    assert [len(r["samples"] + r["discarded"]) for r in found] == [2, 0, 2]  # known before anything is asked
    assert found[1]["error"]["message"] == (
        "keep: column 'topic' is stored as whole numbers (int64) in this run, which cannot hold \"one\" as it is"
    )
    assert [(r["status"], r["reason"], r["topic"]) for r in found] == [
        ("accepted", None, 1),
        ("failed", "kept_type", None),
        ("accepted", None, None),
    ]


def test_a_text_that_is_no_unicode_fails_its_row_alone(odd: Job) -> None:
    found = run(odd, rows(["fine", "half"]))
    assert [(r["status"], r["reason"], len(r["samples"])) for r in found] == [
        ("accepted", None, 1),
        ("failed", "not_storable", 0),
    ]


def test_kept_columns_are_checked_before_work() -> None:
    program = Program(
        echo_job("in", "out", keep=["status"], steps=[{"generate": {"model": "writer", "prompt": "x"}}])
    )
    with pytest.raises(ConfigError, match="'status' is a column of every outcome"):
        program.check_columns(SourcePlan([], [], {"status": pa.string()}, False))
    renamed = Program(
        echo_job("in", "out", keep={"id": "row_id"}, steps=[{"generate": {"model": "writer", "prompt": "x"}}])
    )
    with pytest.raises(ConfigError, match=r"`keep: \{id: source_row_id\}`"):
        renamed.check_columns(SourcePlan([], [], {"id": pa.string()}, False))
    null = Program(
        echo_job("in", "out", keep=["n"], steps=[{"generate": {"model": "writer", "prompt": "x"}}])
    )
    assert null.check_columns(SourcePlan([], [], {"n": pa.null()}, False)) == {"n": pa.string()}


def test_pictures_for_an_engine_of_texts_are_refused_before_work() -> None:
    generate = {"model": "writer", "prompt": "What is it?", "images": ["picture"]}
    models = {"writer": {"family": "causal_lm", "engine": "torch", "ref": "./model"}}
    program = Program(echo_job("in", "out", models=models, steps=[{"generate": generate}]))
    columns = {"id": pa.string(), "text": pa.string(), "topic": pa.string(), "picture": pa.binary()}
    with pytest.raises(ConfigError, match=r"steps\.0\.generate\.images: engine 'torch' takes text only"):
        program.check_columns(SourcePlan([], [], columns, False))


@pytest.mark.parametrize(
    ("kind", "fits"),
    [
        (pa.large_binary(), True),
        (pa.binary(), True),
        (pa.null(), True),
        (pa.string(), False),
        (pa.list_(pa.binary()), True),
        (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), True),
        (pa.list_(pa.string()), False),
    ],
)
def test_pictures_are_columns_of_bytes(kind: pa.DataType, fits: bool) -> None:
    generate = {"model": "writer", "prompt": "What is it?", "images": ["picture"]}
    program = Program(echo_job("in", "out", steps=[{"generate": generate}]))
    source = SourcePlan(
        [], [], {"id": pa.string(), "text": pa.string(), "topic": pa.string(), "picture": kind}, False
    )
    if fits:
        program.check_columns(source)
    else:
        with pytest.raises(ConfigError, match=r"steps\.0\.generate\.images: the column 'picture' holds"):
            program.check_columns(source)
