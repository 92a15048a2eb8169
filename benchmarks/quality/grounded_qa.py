"""How right are the accepted answers of jobs/grounded_qa.yaml, by hand-made labels.

    python -m benchmarks.quality.grounded_qa RUN

tests/steps/grounded_qa_labelled.jsonl says of replies whether their passage supports them (`grounded`), and whether they also
answer their question (`answers`). Printed, without checks (the first reply of every row) and with them (the accepted
reply): rows, those with a label, the share that is grounded, that answers too, and output tokens a row. A reply that
nobody has labelled is not counted, and said.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import raygen

LABELLED = Path(__file__).parents[2] / "tests" / "steps" / "grounded_qa_labelled.jsonl"


def labels() -> dict[tuple[str, str], dict[str, Any]]:
    """Labelled replies, by passage and text."""
    rows = [json.loads(line) for line in LABELLED.read_text().splitlines()]
    return {(row["passage_id"], row["reply"]): row for row in rows}


def measured(replies: Iterable[tuple[str, str]], tokens: int) -> dict[str, float]:
    """Count what the labels say of these replies (passage, text), which cost so many output tokens."""
    known, replies = labels(), list(replies)
    found = [known[each] for each in replies if each in known]
    shares = {kind: sum(row[kind] for row in found) / max(1, len(found)) for kind in ("grounded", "answers")}
    return {
        "rows": len(replies),
        "labelled": len(found),
        **shares,
        "tokens_a_row": tokens / max(1, len(replies)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a finished run of jobs/grounded_qa.yaml")
    given = parser.parse_args()
    first, accepted, plain_tokens, all_tokens = [], [], 0, 0
    for row in raygen.open_run(given.run).to_arrow().to_pylist():
        samples = [*row["samples"], *row["discarded"]]
        all_tokens += sum(sample["usage"]["output_tokens"] for sample in samples)
        # Without checks, a row asks for one question and one reply.
        plain = [sample for sample in samples if sample["step"] in ("ask", "reply") and sample["index"] == 0]
        plain_tokens += sum(sample["usage"]["output_tokens"] for sample in plain)
        first += [(row["row_id"], sample["text"]) for sample in plain if sample["step"] == "reply"]
        if row["status"] == "accepted":
            accepted.append((row["row_id"], row["samples"][0]["text"]))
    figures = {"without": measured(first, plain_tokens), "with": measured(accepted, all_tokens)}
    for name, found in figures.items():
        print(
            f"{name} checks: {found['rows']:.0f} rows, {found['labelled']:.0f} labelled: {found['grounded']:.0%} grounded, "
            f"{found['answers']:.0%} answer too; {found['tokens_a_row']:.0f} output tokens a row"
        )
    print(json.dumps({"benchmark": "grounded_qa", **figures}))


if __name__ == "__main__":
    main()
