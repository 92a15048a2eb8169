from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from raygen.datasets.arithmetic import SHOTS
from raygen.datasets.equations import form_of
from raygen.errors import ConfigError, InterruptedRunError, RaygenError, RunConflictError, UserError
from raygen.improve import rounds as self_improve
from raygen.improve.course import PLAIN, SYSTEM, Course, job_of, recipe_of, with_examples
from raygen.improve.rounds import improve
from raygen.improve.solutions import kept_solutions, score_of, split_solutions, wilson
from raygen.program.job import Job
from raygen.storage import open_store
from raygen.train.recipe import Recipe
from tests.fakes.tiny_llama import save_tiny, tiny_model

PROBLEM = "Tom has 5 balls. Tom gets 4 more. Tom loses 3. How many balls?"


def outcome(texts: list[str], answer: int = 6, steps: int = 2, row_id: str = "p1") -> dict[str, Any]:
    samples = [{"text": text} for text in texts]
    return {"row_id": row_id, "problem": PROBLEM, "answer": answer, "steps": steps, "samples": samples}


def test_scores_count_final_answers() -> None:
    rows = [
        outcome(["Answer: 6"]),
        outcome(["Answer: 5", "Answer: 6"]),
        outcome([], steps=4),
        outcome(["6"], steps=4),
    ]
    score = score_of(rows)
    assert (score.problems, score.right, score.accuracy) == (4, 2, 0.5)
    assert score.by_steps == {"2": (1, 2), "4": (1, 2)}
    assert type(score).of(json.loads(json.dumps(score.record()))) == score


def test_wilson_intervals() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 20) == pytest.approx((0.0, 0.16113), abs=1e-5)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, example of method 3


def test_only_sound_solutions_are_kept_and_each_once() -> None:
    good, other = "5 + 4 = 9. 9 - 3 = 6. Answer: 6", "5 - 3 = 2. 2 + 4 = 6. The answer is 6"
    row = outcome([good, f"{good} ", "Answer: 6", "5 + 4 = 9. Answer: 9", other])
    kept, right = kept_solutions([row, outcome([good], answer=7)], most=2)
    assert right == 4
    assert [each["solution"] for each in kept] == [good, other]
    assert [each["solution_id"] for each in kept] == ["p1-0", "p1-1"]
    assert len(kept_solutions([row], most=1)[0]) == 1


def test_validation_shares_no_problem_with_what_is_learnt() -> None:
    kept = [{"problem": f"p{number // 2}"} for number in range(50)]
    learnt, validated = split_solutions(kept)
    assert len(learnt) + len(validated) == 50
    assert {row["problem"] for row in validated} == {"p0", "p10", "p20"}
    assert not {row["problem"] for row in learnt} & {row["problem"] for row in validated}
    assert split_solutions(kept[:2]) == ([], [])
    assert [len(each) for each in split_solutions(kept[:4])] == [2, 2]


def test_the_training_asks_as_the_test_does(tmp_path: Path) -> None:
    """Prompt tokens of a training example are those of the job's request."""
    pytest.importorskip("torch")
    from raygen.models.text.chat_tokenizer import load_chat_tokenizer
    from raygen.program.program import Program
    from raygen.train.families.causal_lm import CausalLMTrainer

    base = save_tiny(tmp_path / "base", tiny_model(max_position_embeddings=1024))
    course = Course(base=str(base), output=str(tmp_path / "out"))
    store = open_store(course.output)
    job = job_of(course, store, "round-0/test", "test.parquet", PLAIN, {"temperature": 0.0}, 1, None)
    row = {"problem": PROBLEM, "solution": "5 + 4 = 9"}
    request = Program(job).first.request("p1", row)
    chat = load_chat_tokenizer(str(base))
    asked = chat.tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
    tokens = chat.tokenizer(asked, add_special_tokens=False)["input_ids"]
    example = CausalLMTrainer(recipe_of(course, store, "round-1"), base).encode("p1", row)
    assert example.input_ids[: len(tokens)] == tokens
    assert SYSTEM in asked
    assert set(example.targets[: len(tokens)]) == {-100}
    assert example.targets[len(tokens)] == example.input_ids[len(tokens)]


def test_a_course_may_change_the_recipe(tmp_path: Path) -> None:
    course = Course(train={"epochs": 7, "trained": {"lora": {"rank": 4}}})
    recipe = recipe_of(course, open_store(str(tmp_path)), "round-2")
    assert (recipe.epochs, recipe.trained.lora.rank, recipe.trained.lora.alpha) == (7, 4, 32)
    with pytest.raises(ConfigError, match=r"course\.train: epoch: unknown key .*did you mean 'epochs'"):
        recipe_of(Course(train={"epoch": 7}), open_store(str(tmp_path)), "round-2")


class World:
    """Runs and trainings that are quick: a model solves problems of so many steps as it was trained rounds, and one more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: dict[str, list[dict[str, Any]]] = {}
        self.jobs: list[Job] = []
        self.recipes: list[Recipe] = []
        self.state = "finished"
        self.solves = lambda model, steps: steps <= model + 1
        monkeypatch.setattr(self_improve, "check", lambda course, store: None)
        monkeypatch.setattr(self_improve, "run_job", self.run_job)
        monkeypatch.setattr(self_improve, "outcomes_of", lambda uri: self.runs[uri])
        monkeypatch.setattr("raygen.train.run.train", self.train)
        monkeypatch.setattr("raygen.cluster.connect.connected", contextlib.nullcontext)

    def run_job(self, job: Job, **_: Any) -> Any:
        self.jobs.append(job)
        step, spec = job.steps[0].generate, job.models["solver"]
        model = int(Path(spec.adapters[step.adapter]).parts[-3].removeprefix("round-")) if step.adapter else 0
        model += step.messages is not None  # examples help
        self.runs[job.output_uri] = [
            {
                **{name: row[name] for name in ("problem", "answer", "steps")},
                "row_id": row["problem_id"],
                "samples": [{"text": self.write(row, model)}] * step.samples,
            }
            for row in pq.read_table(job.source.uris[0]).to_pylist()
        ]
        return SimpleNamespace(state=self.state)

    def write(self, row: Mapping[str, Any], model: int) -> str:
        return f"{row['equations']} Answer: {row['answer']}" if self.solves(model, row["steps"]) else "Hm."

    def train(self, recipe: Recipe, **_: Any) -> Any:
        self.recipes.append(recipe)
        return SimpleNamespace(model=f"{recipe.output_uri}/model")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def course_of(folder: Path, **changes: Any) -> Course:
    return Course.model_validate(
        {
            "output": str(folder / "out"),
            "rounds": 3,
            "problems": 30,
            "test_problems": 30,
            "first_samples": 3,
            "samples": 2,
            **changes,
        }
    )


def test_rounds_improve_on_the_base_and_are_reported(world: World, tmp_path: Path) -> None:
    lines: list[str] = []
    improved = improve(course_of(tmp_path), inline=True, say=lines.append)
    assert [each.score.right for each in improved.rounds] == [0, 10, 20, 30]
    assert improved.shown.right == 10
    assert improved.base == pytest.approx(1 / 3)  # the better of the base's two
    assert improved.gain == pytest.approx(2 / 3)
    assert [each.kept for each in improved.rounds] == [0, 30, 15, 20]  # of 1 to 2, 2 to 3 and 2 to 4 steps
    assert [each.samples for each in improved.rounds] == [0, 90, 60, 60]
    assert [each.trained_on for each in improved.rounds] == [0, 30, 45, 65]
    assert [line.split(":")[0] for line in lines if line.startswith(("base", "round")) and "exact" in line] == [
        "base", "round 1", "round 2", "round 3",
    ]  # fmt: skip
    learnt = [pq.read_table(recipe.source.uris[0]).num_rows for recipe in world.recipes]
    validated = [pq.read_table(recipe.validation_source.uris[0]).num_rows for recipe in world.recipes]
    assert learnt == [27, 40, 58]
    assert validated == [3, 5, 7]
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert report["gain_points"] == pytest.approx(200 / 3)
    assert report["rounds"][1]["score"]["by_steps"] == {"2": [10, 10], "3": [10, 10], "4": [0, 10]}
    page = (tmp_path / "out" / "report.html").read_text()
    assert (
        "100.0% of the held-out problems exact after round 3, 66.7 points above the base&#39;s 33.3%." in page
    )
    assert "Base, with solved examples in its prompt" in page
    assert page.count('class="sample"') == 3


def test_the_same_call_goes_on(world: World, tmp_path: Path) -> None:
    improve(course_of(tmp_path, rounds=1), inline=True)
    before = len(world.jobs)
    improved = improve(course_of(tmp_path, rounds=2), inline=True)
    assert [each.number for each in improved.rounds] == [0, 1, 2]
    names = [job.output_uri.removeprefix(f"{tmp_path / 'out'}/") for job in world.jobs[before:]]
    assert names == ["round-0/test-with-examples", "round-2/sample-2", "round-2/sample-3", "round-2/test"]
    assert len(world.recipes) == 2
    forms = [job.steps[0].generate.constraint for job in world.jobs[before:]]
    assert [form and form.regex for form in forms] == [None, form_of(2, 20), form_of(3, 20), None]
    with pytest.raises(RunConflictError, match="samples"):
        improve(course_of(tmp_path, samples=3), inline=True)


def test_a_stopped_run_stops_it(world: World, tmp_path: Path) -> None:
    world.state = "interrupted"
    with pytest.raises(InterruptedRunError, match=r"round-0/test.*same command"):
        improve(course_of(tmp_path), inline=True)


def test_nothing_right_is_nothing_to_learn_from(world: World, tmp_path: Path) -> None:
    world.solves = lambda model, steps: False
    with pytest.raises(RaygenError, match="round-1: of 30 problems, too few have a right solution"):
        improve(course_of(tmp_path), inline=True)


def test_examples_come_before_the_problem() -> None:
    messages = with_examples(PROBLEM, 4)
    turns = ["user", "assistant"] * len(SHOTS)
    assert [message["role"] for message in messages] == ["system", *turns, "user"]
    assert (messages[0]["content"], messages[-1]["content"]) == (SYSTEM, PROBLEM)
    shown = [message["content"] for message in with_examples(PROBLEM, 2)[2::2]]
    assert shown == [solution for _, solution in SHOTS if solution.count("=") <= 2]
    assert 0 < len(shown) < len(SHOTS)


def test_later_rounds_have_longer_problems() -> None:
    course = Course(first_steps=2)
    assert [course.steps(number) for number in range(1, 6)] == [(1, 2), (2, 3), (2, 4), (2, 4), (2, 4)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": {"nope": 1}}, "nope: unknown key"),
        ({"engine": {"max_batch": "abc"}}, "max_batch"),
        ({"train": {"nope": 1}}, "course.train: nope: unknown key"),
        ({"train": {"optimizer": {"learning_rate": -1}}}, "learning_rate"),
        ({"train": {"family": "classifier", "objective": {"text": "a", "label": "b"}}}, "course.train"),
        ({"base": ""}, "ref"),
        ({"base": "./nope"}, "nope"),
        ({"base": "x:y"}, "x:y"),
    ],
)
def test_a_course_that_cannot_end_is_refused_before_it_begins(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    base = save_tiny(tmp_path / "base", tiny_model(max_position_embeddings=2048))
    course = Course.model_validate({"base": str(base), "output": str(tmp_path / "out"), **change})
    with pytest.raises(UserError, match=said):
        improve(course, inline=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
@pytest.mark.model
def test_tiny_course_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real runs and trainings; but a random model's texts are taken for sound when they are of even length."""
    monkeypatch.setattr("raygen.improve.solutions.sound", lambda problem, text: True)
    monkeypatch.setattr(
        "raygen.improve.solutions.final_answer", lambda text: Even() if len(text) % 2 == 0 and text else None
    )
    base = save_tiny(tmp_path / "base", tiny_model(max_position_embeddings=2048))
    batch = {"tokens": 1024, "micro_tokens": 1024, "max_tokens": 1024}
    course = Course(
        base=str(base), output=str(tmp_path / "out"), rounds=1, problems=9, test_problems=6, first_samples=2,
        max_tokens=8, dtype="float32", train={"epochs": 1, "max_steps": 2, "batch": batch},
    )  # fmt: skip
    improved = improve(course, inline=True)
    assert improved.rounds[1].trained_on == improved.rounds[1].kept > 0
    assert (tmp_path / "out" / "round-1" / "train" / "model" / "adapter_model.safetensors").exists()
    base_texts, texts = (
        [row["samples"][0]["text"] for row in self_improve.outcomes_of(f"{tmp_path}/out/round-{number}/test")]
        for number in range(2)
    )
    assert base_texts != texts  # the adapter is in use
    assert (tmp_path / "out" / "report.html").exists()


class Even:
    """An answer that is every problem's."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int)

    __hash__ = None  # type: ignore[assignment]
