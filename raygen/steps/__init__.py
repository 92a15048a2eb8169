"""Steps: what a program does with a row, one verb a file.

A step has a description (`Config`), which is its part of the job, and does its work in `run`, on the row's story: it takes in
samples, rejects them, gives scores, writes variables, and every decision is kept. It knows no Ray and no storage; it asks models
through `row.calls` alone, so that what was answered once is never asked again. `verify` holds checks (`checks/`), `score` scores
(`scores/`). A new step is a file, and a line here.

Start reading: base.py, then filter.py, the shortest, then generate.py.
"""

from __future__ import annotations

from raygen.registry import Registry

STEPS = Registry(
    "step",
    "raygen.steps",
    {
        "generate": "raygen.steps.generate:GenerateStep",
        "answer": "raygen.steps.answer:AnswerStep",
        "decompose": "raygen.steps.decompose:DecomposeStep",
        "verify": "raygen.steps.verify:VerifyStep",
        "refine": "raygen.steps.refine:RefineStep",
        "select": "raygen.steps.select:SelectStep",
        "score": "raygen.steps.score:ScoreStep",
        "filter": "raygen.steps.filter:FilterStep",
        "python": "raygen.steps.python:PythonFunctionStep",
        "redact": "raygen.steps.redact:RedactStep",
        "deduplicate": "raygen.steps.deduplicate:DeduplicateStep",
    },
    kind="raygen.steps.base:Step",
)
