"""Words behind verdicts, from a run's own classifier: in a trace and in the report; what is said where there are none."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import raygen
from raygen.program.retell import Judged
from raygen.reports import cards as report_cards
from raygen.reports.summary import report_data
from raygen.review import explain as attributed
from raygen.review.trace import trace_row
from raygen.review.trace_tree import print_trace
from raygen.storage import open_store
from tests.fakes.tiny_encoders import save_encoder, tiny_encoder
from tests.reports.test_run import Page
from tests.review.traced_run import ECHO, traced_job, traced_run

LABELS = ("entailment", "neutral", "contradiction")
BY: dict[str, Any] = {"label": "neutral", "threshold": 0.08}  # about half of the samples pass
STEPS: list[dict[str, Any]] = [
    {"generate": {"model": "writer", "prompt": "About: {{ text }}", "samples": 2}},
    {
        "verify": {
            "entailment": {"model": "nli", "premise": "{{ text }}", "hypothesis": "{{ sample[:4] }}", **BY}
        }
    },
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of six rows, judged by a tiny random classifier."""
    import torch

    folder, threads = tmp_path_factory.mktemp("judged"), torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread, which takes verdicts apart; the engine has a thread of its own
    save_encoder(folder / "nli", tiny_encoder("bert", LABELS))
    nli = {"family": "classifier", "engine": "encoder", "ref": str(folder / "nli"), "options": {"threads": 1}}
    traced_run(folder, STEPS, rows=6, models={"writer": ECHO, "nli": nli})
    yield folder
    torch.set_num_threads(threads)


def test_a_trace_marks_the_words(folder: Path, cli: Callable[..., Any]) -> None:
    trace = trace_row(str(folder / "run"), "p2", attribute=True)
    assert trace["notes"] == []
    verdicts = [each for block in trace["steps"] for each in block["decisions"] if "attribution" in each]
    assert len(verdicts) == 2
    for verdict in verdicts:
        found = verdict["attribution"]
        assert found["probability"] == pytest.approx(verdict["scores"]["neutral"], abs=1e-4)
        total = sum(word["score"] for word in found["words"])
        assert total == pytest.approx(found["probability"] - found["baseline"], abs=0.011)
        words = [word["text"] for word in found["words"] if word["part"] == "premise"]
        assert words == ["passage", "2", "has", "some", "words"]
    text = cli("trace", folder / "run", "p2", "--attribute").out
    assert "with every word hidden; words that speak for it [+], against it [-]" in text
    assert "[+++]" in text or "[---]" in text
    out = io.StringIO()
    print_trace(trace_row(str(folder / "run"), "p2"), False, out)
    assert "every word hidden" not in out.getvalue()


def test_the_report_draws_a_few(folder: Path) -> None:
    page = Page((folder / "run" / "report.html").read_text())
    assert "Words behind verdicts" in page.text
    articles = [each["aria-label"] for each in page.of("article")]
    assert len([each for each in articles if str(each).startswith("Verdict on row")]) == 3
    steps = report_data(open_store(str(folder / "run"))).steps
    assert steps is not None
    assert (steps.notes, len(steps.verdicts)) == ([], 3)
    shown = [(each.row_id, each.attribution.hypothesis, each.decision) for each in steps.verdicts]
    assert [each[2] for each in shown[:2]] == ["not_entailed", "passed"]
    # The third is the closest call of all others.
    rows = raygen.open_run(str(folder / "run")).to_arrow().to_pylist(maps_as_pydicts="lossy")
    distances = {
        (row["row_id"], sample["text"][:4]): abs(sample["scores"]["verify"] - BY["threshold"])
        for row in rows
        for sample in [*row["samples"], *row["discarded"]]
    }
    others = {place: far for place, far in distances.items() if place not in [each[:2] for each in shown[:2]]}
    assert shown[2][:2] == min(others, key=lambda place: others[place])


def test_a_report_without_them_is_still_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(folder / "run"))
    monkeypatch.setattr(report_cards, "LARGEST_BYTES", 10)
    steps = report_data(store).steps
    assert steps is not None
    assert steps.notes == [
        "Words behind verdicts are not shown: model 'nli': its weights (0.0 GB) are too large to look into here."
    ]

    def broken(*_: Any) -> None:
        raise RuntimeError("a hook")

    monkeypatch.setattr(report_cards, "attributions", broken)
    steps = report_data(store).steps
    assert steps is not None
    assert steps.notes == ["verdicts could not be taken apart: RuntimeError: a hook"]


def test_other_weights_tell_nothing(folder: Path) -> None:
    job = traced_job(folder, STEPS, rows=6, models={"writer": ECHO, "nli": {**_nli(folder)}})
    asked = [Judged("nli", ["a"], "b", "neutral")]
    found, notes = attributed.attributions(job, {"nli": {"digest": "sha256:0"}}, asked)
    assert (found, notes) == ([None], ["model 'nli': its weights are not those of the run any more"])


def test_a_missing_library_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raygen.extras.find_spec", lambda name: None)
    notes = trace_row(str(folder / "run"), "p2", attribute=True)["notes"]
    assert len(notes) == 1
    assert notes[0].startswith(
        "model 'nli': the attribution needs packages that are not installed here (torch, "
    )
    assert "captum): pip install 'raygen[train]'" in notes[0]


def _nli(folder: Path) -> dict[str, Any]:
    return {
        "family": "classifier",
        "engine": "encoder",
        "ref": str(folder / "nli"),
        "options": {"threads": 1},
    }
