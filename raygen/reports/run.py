"""The report of a run: one HTML file that needs nothing else, to be read, kept and forwarded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raygen import formatting as display
from raygen.engines.figures import kv_use, prefix_hit_rate
from raygen.reports.data import ErrorCount, ReportData, Rows, SampleRow
from raygen.reports.page import Folded, fold, page_environment
from raygen.reports.plots import run as plots
from raygen.reports.plots.timeline import Timeline
from raygen.reports.steps import step_view
from raygen.usage import unit_of

CARD_BYTES = 500_000  # text of all sample cards; later cards are left out, and the page says so
IMAGE_BYTES = 400_000  # thumbnails of all sample cards
INPUTS, OUTPUTS, ERRORS = 12, 4, 50  # shown of one sample; kinds of errors in the table
DISCARDED = 8  # samples of one row that are shown folded
LISTING_CHARS = 60_000  # of the manifest and of the job


def render_report(data: ReportData) -> str:
    """Return the report as one HTML document that loads nothing from anywhere. Touches no file of a run."""
    from markupsafe import Markup

    from raygen.version import __version__

    causes = _causes(data.errors)
    timeline = Timeline.of(data.throughput, data.sessions)
    limit = length_limit(data.lengths, data.finish_reasons)
    ranked = data.steps.ranked if data.steps is not None else ()
    all_cards = _cards([*(each.row for each in ranked), *data.samples])
    first, cards = all_cards[: len(ranked)], all_cards[len(ranked) :]
    return page_environment().get_template("report.html.j2").render(
        data=data,
        version=__version__,
        verdict=verdict(data.rows),
        figures=_figures(data),
        causes=causes[:ERRORS],
        more_causes=causes[ERRORS:],
        explained=sum(n for _, n, _ in causes),
        reasons=_ranked(data.reasons),
        finish_reasons=_ranked(data.finish_reasons),
        pareto=Markup(plots.pareto([(name, n) for name, n, _ in causes])) if causes else "",
        throughput=Markup(plots.throughput(timeline, unit_of(data.usage.lead).rate())) if timeline.parts else "",
        timeline=timeline,
        lengths=Markup(plots.lengths(data.lengths, limit)) if data.lengths else "",
        limit=limit,
        cards=cards,
        steps=data.steps
        and {
            **step_view(data.steps),
            "ranked": [(each.what, f"{each.score:.4g}", card) for each, card in zip(ranked, first, strict=False)],
        },
        models=[{k: v for k, v in model.items() if v not in (None, "")} for model in data.models],
        manifest=display.cut(display.as_text(data.manifest), LISTING_CHARS) if data.manifest else "",
        job=display.cut(data.job_yaml, LISTING_CHARS),
    )  # fmt: skip


def verdict(rows: Rows) -> str:
    """Say in one sentence what became of the rows; what is not as it should be is said plainly."""
    number = display.number
    if rows.total == 0 and rows.outcomes == 0:
        return "The input holds no rows."
    said = (
        f"{number(rows.outcomes)} of {display.count(rows.total, 'row')} "
        f"{'has' if rows.outcomes == rows.total == 1 else 'have'} an outcome: "
        f"{number(rows.accepted)} accepted, {number(rows.rejected)} rejected, {number(rows.failed)} failed"
    )
    if rows.missing > 0:
        return f"{said}; {display.count(rows.missing, 'row is', 'rows are')} missing."
    if rows.missing < 0:
        return f"{said}; that is {number(-rows.missing)} too many."
    return f"{said}."


def length_limit(lengths: Sequence[int], finish_reasons: dict[str, int]) -> int | None:
    """Return the length at which samples were cut, in tokens: the longest, if several reached it."""
    if not finish_reasons.get("length") or not lengths:
        return None
    longest = max(lengths)
    return longest if len(lengths) == 1 or sum(n == longest for n in lengths) > 1 else None


def _figures(data: ReportData) -> list[tuple[str, str, str]]:
    """Key figures: label, value, a remark."""
    ran_s = data.elapsed_s

    def per_second(n: float) -> str:
        return display.number(n / ran_s) if ran_s > 0 else "–"

    chunks = f"{display.number(data.chunks.committed)} of {display.number(data.chunks.total)}"
    again = (
        f"{display.number(data.chunks.recomputed)} computed again"
        if data.chunks.recomputed
        else "none computed again"
    )
    return [
        ("Accepted", display.share(data.rows.accepted, data.rows.total), "of the rows"),
        ("Running time", display.duration(ran_s), f"in {display.count(data.sessions, 'session')}"),
        ("Rows a second", per_second(data.rows.outcomes), "while running"),
        *_usage_figures(data),
        ("Chunks committed", chunks, again),
        *_reuse_figures(data),
        *_engine_figures(data),
    ]


def _usage_figures(data: ReportData) -> list[tuple[str, str, str]]:
    """Key figures of what was made and read, a unit each."""
    found = []
    for unit in data.usage.shown:
        amount = data.usage[unit.name]
        speed = (
            f"{display.number(amount / data.elapsed_s)}{' s' * unit.seconds}" if data.elapsed_s > 0 else "–"
        )
        found.append((unit.label, unit.amount(amount), f"{speed} a second"))
    return found


def _reuse_figures(data: ReportData) -> list[tuple[str, str, str]]:
    """Return what was taken over from another run, if anything was."""
    reused = data.calls.get("reused", 0)
    if not reused:
        return []
    computed = f"of all calls; {display.number(data.calls['computed'])} computed"
    return [("Calls reused", display.share(reused, reused + data.calls["computed"]), computed)]


def _engine_figures(data: ReportData) -> list[tuple[str, str, str]]:
    """Key figures of engines that keep prompts and memory of their own."""
    found = []
    if (hit_rate := prefix_hit_rate(data.engine)) is not None:
        computed = display.number(int(data.engine.get("prompt_tokens_computed", 0)))
        found.append(("Prefixes reused", f"{hit_rate:.0%}", f"of the prompts; {computed} tokens computed"))
    if (peak := kv_use(data.engine, "kv_peak")) is not None:
        preemptions = display.count(int(data.engine.get("preemptions", 0)), "preemption")
        found.append(("Key/value memory", f"{peak:.0%}", f"used at most, {preemptions}"))
    if data.throughput:
        filled = [occupancy for *_, occupancy in data.throughput if occupancy > 0]
        if filled:
            found.append(("Engines filled", f"{sum(filled) / len(filled):.0%}", "on average while working"))
    return found


def _causes(errors: Sequence[ErrorCount]) -> list[tuple[str, int, ErrorCount]]:
    """Errors with a label each, most frequent first; it names the step where the code alone is ambiguous."""
    codes = [error.code for error in errors]
    ranked = sorted(errors, key=lambda e: (-e.count, e.code, e.step or ""))
    return [
        (f"{e.code} in {e.step}" if codes.count(e.code) > 1 and e.step else e.code, e.count, e)
        for e in ranked
    ]


def _ranked(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return counts, most first; all beyond the tenth in one."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return (
        ranked
        if len(ranked) <= 10
        else [*ranked[:9], (f"{len(ranked) - 9} others", sum(n for _, n in ranked[9:]))]
    )


def _cards(samples: Sequence[SampleRow]) -> list[dict[str, Any]]:
    """Lay samples out as cards, as many as fit the page's budget of bytes."""
    from markupsafe import escape

    from raygen.data.media.thumbnail import thumbnail

    cards: list[dict[str, Any]] = []
    text_bytes = image_bytes = 0
    for row in samples:
        inputs: list[tuple[str, Folded, str | None]] = []
        for name, value in list(row.input.items())[:INPUTS]:
            picture = thumbnail(bytes(value)) if isinstance(value, bytes | bytearray | memoryview) else None
            if picture and image_bytes + len(picture) <= IMAGE_BYTES:
                image_bytes += len(picture)
            else:
                picture = None
            inputs.append((display.cut(name, 100), fold(value), picture))
        reason = fold(row.reason) if row.reason else None
        prompt = fold(row.prompt) if row.prompt else None
        outputs = [
            (fold(text or ""), finish, seed, [(name, fold(words)) for name, words in said])
            for (text, finish, seed), said in zip(
                row.outputs[:OUTPUTS], [*row.beside, *[()] * OUTPUTS], strict=False
            )
        ]
        discarded = [
            (number, step, fold(text or ""), finding and display.cut(finding, 300))
            for number, step, text, finding in list(row.discarded)[:DISCARDED]
        ]
        card = {
            "row_id": display.cut(row.row_id, 200),
            "status": row.status,
            "reason": reason,
            "inputs": inputs,
            "more_inputs": max(0, len(row.input) - INPUTS),
            "prompt": prompt,
            "outputs": outputs,
            "more_outputs": max(0, len(row.outputs) - OUTPUTS),
            "error": row.error and (row.error[0], fold(row.error[1])),
            "discarded": discarded,
            "discarded_total": len(row.discarded),
        }
        texts = [*(t for _, t, _ in inputs), *(t for t, *_ in outputs), reason, prompt]
        texts += [words for *_, said in outputs for _, words in said]
        texts += [text for _, _, text, _ in discarded]
        shown = "".join(t.whole + (t.preview or "") for t in texts if t)
        text_bytes += len(escape(display.visible(shown)).encode()) + 1000  # and the card's own markup
        if cards and text_bytes > CARD_BYTES:
            break
        cards.append(card)
    return cards
