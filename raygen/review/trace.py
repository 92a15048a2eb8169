"""Trace: the whole story of one row as plain data: what came in, what each step asked, got and decided, and by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from raygen.engines.requests import GenerateRequest, RenderRequest
from raygen.errors import RaygenError
from raygen.program.job import Job
from raygen.program.program import Program
from raygen.program.retell import Prompt, Retold, retell
from raygen.review.explain import attributions
from raygen.review.find_row import FoundRow, find_row, plan_of, read_input
from raygen.runs.outcome import ACCEPTED, OWN_COLUMNS
from raygen.runs.plan import Plan
from raygen.steps.row.record import BESIDE
from raygen.steps.row.story import DROPPED, GOES_ON, MADE
from raygen.steps.spec import step_names
from raygen.storage import open_store

ATTRIBUTED = 16  # verdicts of one row that are taken apart, the last ones

# What is told of a sample that is no text.
MEDIUM = ("media_type", "width", "height", "seconds", "size_bytes", "digest")


def trace_row(run_uri: str, row_id: str, *, attribute: bool = False) -> dict[str, Any]:
    """Tell a row's story.

    Args:
        attribute: also take verdicts of entailment apart into words; loads the model that gave them.

    Returns:
        `row_id`, `status`, `reason`, `error`, `run`, `chunk`, `input` (None if it cannot be read), `steps` (blocks of
        decisions, in the order in which they were made, each with the prompts that are known), `nothing_to_do` and
        `not_reached` (steps without a decision), `variables`, `calls` (recorded answers that are no samples), `kept`,
        `lineage`, and `notes` about what is missing.

    Raises:
        UserError: there is no such run or row.
    """
    store = open_store(run_uri)
    found = find_row(store, row_id)
    record, notes = found.record, []
    plan = plan_of(store, record)
    if plan is None:
        notes.append("the plan that made this row is not in the run: its prompts are not shown")
    job = None if plan is None else _job(plan, notes)
    row, told = (None, Retold()) if plan is None or job is None else _told(job, plan, found, notes)
    blocks = _blocks(record, job, told)
    if attribute and plan is not None and job is not None:
        notes += _attribute(job, plan, told, blocks)
    names = step_names(job.steps) if job is not None else []
    spoke = {block["step"] for block in blocks}
    last = max((n for n, name in enumerate(names) if name in spoke), default=-1)
    if job is not None and record["status"] == ACCEPTED:
        # It went through all steps, some of which say nothing; rows are compared with each other at the end of a run.
        last = len(names) - (2 if job.steps[-1].verb == "deduplicate" and not found.compared else 1)
    return {
        "row_id": record["row_id"],
        "status": record["status"],
        "reason": record["reason"],
        "error": record["error"],
        "run": store.uri,
        "chunk": found.commit.chunk,
        "input": row,
        "steps": blocks,
        "nothing_to_do": [name for name in names[: last + 1] if name not in spoke],
        "not_reached": names[last + 1 :],
        "variables": record["variables"],
        "calls": record.get("calls") or [],
        "kept": {name: value for name, value in record.items() if name not in OWN_COLUMNS},
        "lineage": record["lineage"],
        "notes": notes,
    }


def _job(plan: Plan, notes: list[str]) -> Job | None:
    try:
        return Job.model_validate(plan.job)
    except ValidationError:
        notes.append("this raygen cannot read the run's job any more: prompts are not shown")
        return None


def _told(job: Job, plan: Plan, found: FoundRow, notes: list[str]) -> tuple[dict[str, Any] | None, Retold]:
    """Return the row's input and its story told again, as far as that can be done; says in one line why it cannot."""
    row = None
    try:
        read = read_input(Program(job), plan, found.commit.chunk, found.record["row_id"])
        if read is None:
            notes.append("the source has no such row any more: prompts are not shown")
            return None, Retold()
        row = read[0]
        told = retell(job, plan.models, found.record, *read)
    except RaygenError as error:
        what = "the source cannot be read as it was" if row is None else "the story cannot be told again"
        notes.append(f"{what}: prompts are not shown ({error})")
        return row, Retold()
    if told.problem is not None:
        notes.append(told.problem)
    if any(prompt.proven is False for prompt in told.prompts):
        notes.append("some prompts are not those that were sent: their digests differ")
    return row, told


def _blocks(record: Mapping[str, Any], job: Job | None, told: Retold) -> list[dict[str, Any]]:
    """Cut the decisions into blocks of one step each; a step that comes again (checks of a refinement) gets another."""
    specs = {} if job is None else dict(zip(step_names(job.steps), job.steps, strict=True))
    samples = {each["number"]: each for each in [*record["samples"], *record["discarded"]]}
    kept = {each["number"] for each in record["samples"]}
    findings: dict[int, str | None] = {}  # of each sample, what was found last
    blocks: list[dict[str, Any]] = []
    starts: list[int] = []
    for place, attempt in enumerate(record["attempts"]):
        name, number = attempt["step"], attempt["sample"]
        if not blocks or (blocks[-1]["step"], blocks[-1]["attempt"]) != (name, attempt["attempt"]):
            spec = specs.get(name)
            blocks.append(
                {
                    "step": name,
                    "attempt": attempt["attempt"],
                    "verb": spec.verb if spec else None,
                    "config": spec.model_dump(mode="json", exclude_none=True)[spec.verb] if spec else None,
                    "again": any(block["step"] == name for block in blocks),
                    "prompts": [],
                    "decisions": [],
                }
            )
            starts.append(place)
        decision = {
            **{key: attempt[key] for key in ("sample", "decision", "detail", "model", "scores")},
            "rejected": number is not None and attempt["decision"] not in (*GOES_ON, DROPPED),
        }
        if decision["rejected"]:
            findings[number] = attempt["detail"]
        sample = samples.get(number)
        if attempt["decision"] in MADE and sample is not None:
            decision["made"] = {
                **{
                    key: sample[key]
                    for key in ("text", "answer", *BESIDE, "finish_reason", "seed", "usage", *MEDIUM)
                },
                "call": sample["call"],
                "mends": sample["parent"],
                "because": findings.get(sample["parent"]),
                "scores": sample["scores"],
                "kept": number in kept and record["status"] == "accepted",
            }
        if (judged := told.judged.get(place)) is not None:
            decision["premises"], decision["hypothesis"] = judged.premises, judged.hypothesis
            decision["label"] = judged.label
        blocks[-1]["decisions"].append(decision)
    for prompt in told.prompts:
        if (block := _block_of(prompt, blocks, starts)) is not None:
            block["prompts"].append(_as_dict(prompt))
    return blocks


def _block_of(
    prompt: Prompt, blocks: Sequence[dict[str, Any]], starts: Sequence[int]
) -> dict[str, Any] | None:
    """Where a prompt belongs: with the sample that came of it, else where its step began, else to the step's last block."""
    of_step = [
        (block, start) for block, start in zip(blocks, starts, strict=True) if block["step"] == prompt.step
    ]
    for block, start in of_step:
        made = {each["sample"] for each in block["decisions"] if "made" in each}
        if made.intersection(prompt.samples) or (not prompt.samples and start == prompt.at):
            return block
    return of_step[-1][0] if of_step else None


def _as_dict(prompt: Prompt) -> dict[str, Any]:
    request = prompt.request
    return {
        "model": prompt.model,
        "adapter": request.adapter,
        "messages": [{**message, "content": _content(message.get("content"))} for message in prompt.messages],
        **_how(request),
        "samples": prompt.samples,
        "proven": prompt.proven,
    }


def _how(request: GenerateRequest | RenderRequest) -> dict[str, Any]:
    """Return with what settings a model was asked."""
    if isinstance(request, RenderRequest):
        return {
            "tools": None,
            "constraint": None,
            "render": request.settings.model_dump(mode="json", exclude_none=True),
        }
    return {
        "tools": request.tools,
        "sampling": request.sampling.model_dump(mode="json"),
        "constraint": request.constraint and request.constraint.model_dump(mode="json", exclude_none=True),
    }


def _content(content: Any) -> Any:
    """Return a message's content without the bytes of its pictures: those are in the input."""
    if not isinstance(content, list):
        return content
    return [
        {
            **part,
            "image_url": {"url": f"({len(str(part['image_url'].get('url', ''))):,} characters of a picture)"},
        }
        if isinstance(part, dict) and isinstance(part.get("image_url"), dict)
        else part
        for part in content
    ]


def _attribute(job: Job, plan: Plan, told: Retold, blocks: Sequence[dict[str, Any]]) -> list[str]:
    """Add to verdicts of entailment which words they come from; returns why some have none."""
    places = sorted(told.judged)[-ATTRIBUTED:]
    if not places:
        return ["no verdict of entailment can be taken apart in this row"]
    notes = []
    if len(places) < len(told.judged):
        notes.append(f"only the last {len(places)} of {len(told.judged)} verdicts are taken apart")
    decisions = [decision for block in blocks for decision in block["decisions"]]
    made, why = attributions(job, plan.models, [told.judged[place] for place in places])
    for place, each in zip(places, made, strict=True):
        if each is not None:
            decisions[place]["attribution"] = {
                **{name: getattr(each, name) for name in ("premise", "hypothesis", "label", "probability")},
                **{name: getattr(each, name) for name in ("baseline", "delta", "steps")},
                "words": [word._asdict() for word in each.words],
            }
    return [*notes, *why]
