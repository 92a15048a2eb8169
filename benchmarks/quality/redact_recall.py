"""How much of the personal data in labelled sentences `redact` finds, and how much else it takes for it."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from raygen.data.text.pii import Span, find_pii
from raygen.steps.redact import Redact

LABELLED = Path(__file__).parents[2] / "tests" / "steps" / "pii_labelled.jsonl"
ENTITIES = Redact.ALL


def main() -> None:
    """Print recall and precision an entity, all entities being looked for at once."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--labelled", type=Path, default=LABELLED, help="JSON Lines: text, entities")
    parser.add_argument(
        "--wrong", action="store_true", help="also print what is missed and what is taken wrongly"
    )
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.labelled.read_text().splitlines()]
    find_pii("", ENTITIES)  # what is loaded is not timed
    for held_out in (False, True):
        some = [row for row in rows if row.get("held_out", False) == held_out]
        if some:
            print("held out: written after the patterns were last changed" if held_out else "seen")
            tell(some, options.wrong)


def tell(rows: list[dict], wrong: bool) -> None:
    began_s = time.perf_counter()
    found = [find_pii(row["text"], ENTITIES) for row in rows]
    took_s = time.perf_counter() - began_s
    empty = sum(not row["entities"] for row in rows)
    print(
        f"{len(rows)} sentences, {empty} of them without personal data; {1e3 * took_s / len(rows):.2f} ms each"
    )
    print(f"{'entity':12} {'labelled':>8} {'recall':>7} {'hidden':>7} {'found':>6} {'precision':>9}")
    for entity in ENTITIES:
        print(line_of(entity, rows, found))
    if wrong:
        for row, spans in zip(rows, found, strict=True):
            show_wrong(row, spans)


def line_of(entity: str, rows: list[dict], found: list[list[Span]]) -> str:
    """Recall: found whole, by its name. Hidden: found whole, by any. Precision: of what has the name, what is labelled so."""
    labelled = recalled = hidden = named = right = 0
    for row, spans in zip(rows, found, strict=True):
        for want in row["entities"]:
            if want["entity"] == entity:
                whole = [span for span in spans if span.start <= want["start"] and span.end >= want["end"]]
                labelled += 1
                hidden += bool(whole)
                recalled += any(span.entity == entity for span in whole)
        for span in spans:
            if span.entity == entity:
                named += 1
                right += any(
                    want["entity"] == entity and span.start < want["end"] and want["start"] < span.end
                    for want in row["entities"]
                )
    precision = f"{right / named:9.0%}" if named else f"{'-':>9}"
    return (
        f"{entity:12} {labelled:8} {recalled / labelled:7.0%} {hidden / labelled:7.0%} {named:6} {precision}"
    )


def show_wrong(row: dict, spans: list[Span]) -> None:
    text = row["text"]
    for want in row["entities"]:
        if not any(span.start <= want["start"] and span.end >= want["end"] for span in spans):
            print(f"missed {want['entity']}: {text[want['start'] : want['end']]!r} in {text!r}")
    for span in spans:
        if not any(span.start < want["end"] and want["start"] < span.end for want in row["entities"]):
            print(f"wrongly {span.entity}: {text[span.start : span.end]!r} in {text!r}")


if __name__ == "__main__":
    main()
