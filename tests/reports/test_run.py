from __future__ import annotations

import dataclasses
import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from PIL import Image

from raygen.reports.data import Chunks, ErrorCount, ReportData, Rows, SampleRow
from raygen.reports.run import length_limit, render_report, verdict
from raygen.usage import Usage

HOSTILE = (
    '</script></style><img src="http://evil.example/x" onerror="alert(1)">{{ 7 * 7 }}@import url(http://evil)'
)
TAGS = {  # all that the page is made of: none of them runs code, and only img and use refer to something
    *(
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "article",
    ),
    *("footer", "h1", "h2", "h3", "h4", "p", "div", "span", "strong", "code", "pre", "time", "a", "img"),
    *("ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("figure", "figcaption", "svg", "g", "path", "text", "use", "defs", "clippath", "rect"),
}
VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """A page as a browser's parser sees it: tags with their attributes, and the text of the body."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.css = ""
        self.feed(html)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.said))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.css += data
        elif "body" in self.open:
            self.said.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def picture(size: int) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((size, size), 100).save(out, "PNG")
    return out.getvalue()


EMPTY = ReportData(
    title="nothing",
    run_uri="runs/nothing",
    state="complete",
    started="2026-01-02T03:04:05+01:00",
    finished=None,
    elapsed_s=0,
    sessions=1,
    rows=Rows(0),
    chunks=Chunks(0, 0),
    usage=Usage(),
)
FULL = ReportData(
    title="questions",
    run_uri="s3://bucket/run",
    state="complete",
    started="2026-01-02T03:04:05Z",
    finished="2026-01-02T04:04:05Z",
    elapsed_s=602,
    sessions=2,
    rows=Rows(1204, 1190, 4, 10),
    chunks=Chunks(10, 10, 1),
    usage=Usage(prompt_tokens=60_200, output_tokens=120_400),
    engine={
        "prompt_tokens_computed": 1900,
        "prompt_tokens_reused": 3100,
        "preemptions": 1,
        "kv_peak": 256,
        "kv_limit": 1024,
    },
    throughput=[
        *((t, t * 2, t * 200, 0.9) for t in range(1, 302)),
        *((t + 4000, 602 + t * 2, 60_200 + t * 200, 0.9) for t in range(301)),
    ],
    errors=[
        ErrorCount("broken_json", None, 3, "a.jsonl#7", "a.jsonl, line 8: no JSON"),
        ErrorCount("prompt_too_long", "generate", 7, "r-1", "the prompt has 9000 tokens"),
    ],
    reasons={"too_short": 3, "duplicate": 1},
    lengths=[10, 20, 64, 64],
    finish_reasons={"stop": 1000, "length": 200},
    samples=[
        SampleRow(
            "r-1", "accepted", None, {"topic": "assert"}, "Ask about it.", [("What is it?", "stop", 42)]
        ),
        SampleRow("r-2", "rejected", "too_short", {"text": "word " * 300}, None, [("Hm.", "length", None)]),
        SampleRow(
            "r-3", "failed", None, {"image": picture(40), "raw": b"\x00\xffraw"}, error=("timeout", "late")
        ),
    ],
    manifest={"chunks": [{"key": "data/0.parquet"}]},
    models=[{"name": "writer", "ref": "./model", "digest": "sha256:ab", "adapter": None, "engine": "torch"}],
    job_yaml="name: questions\n",
    notes=["The store has no conditional writes."],
)


@pytest.fixture(scope="module")
def full() -> Page:
    return Page(render_report(FULL))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            Rows(1204, 1190, 4, 10),
            "1,204 of 1,204 rows have an outcome: 1,190 accepted, 4 rejected, 10 failed.",
        ),
        (Rows(1, 1), "1 of 1 row has an outcome: 1 accepted, 0 rejected, 0 failed."),
        (
            Rows(10, 7, 1, 1),
            "9 of 10 rows have an outcome: 7 accepted, 1 rejected, 1 failed; 1 row is missing.",
        ),
        (
            Rows(10, 9, 2, 1),
            "12 of 10 rows have an outcome: 9 accepted, 2 rejected, 1 failed; that is 2 too many.",
        ),
        (Rows(0), "The input holds no rows."),
    ],
)
def test_verdict(rows: Rows, sentence: str) -> None:
    assert verdict(rows) == sentence
    assert sentence in Page(render_report(dataclasses.replace(EMPTY, rows=rows))).text


def test_figures_are_right(full: Page) -> None:
    for said in (
        "Accepted 98.8% of the rows",
        "Running time 10 min 2 s in 2 sessions",
        "Rows a second 2 while running",
        "Output tokens 120,400 200 a second",
        "Prompt tokens 60,200 100 a second",
        "Chunks committed 10 of 10 1 computed again",
        "Started 2026-01-02 03:04:05 UTC",
        "The store has no conditional writes.",
        "Prefixes reused 62% of the prompts; 1,900 tokens computed",
        "Key/value memory 25% used at most, 1 preemption",
        "Engines filled ",
    ):
        assert said in full.text


def test_engines_that_say_nothing_have_no_figures() -> None:
    text = Page(render_report(EMPTY)).text
    assert not any(label in text for label in ("Prefixes reused", "Key/value memory", "Engines filled"))


def test_funnel_has_counts_and_shares(full: Page) -> None:
    assert "Rows in 1,204 100% Outcomes 1,204 100% Accepted 1,190 98.8%" in full.text
    assert "1,190 accepted 98.8% 4 rejected 0.3% 10 failed 0.8%" in full.text
    assert "too_short 3 75% duplicate 1 25%" in full.text


def test_failures_are_ranked_with_example_and_remedy(full: Page) -> None:
    assert (
        "prompt_too_long in generate 7 70% the prompt has 9000 tokens row r-1 Shorten the template"
        in full.text
    )
    assert full.text.index("9000 tokens") < full.text.index("line 8: no JSON")
    labels = [svg["aria-label"] for svg in full.of("svg")]
    assert "Failed rows by cause: prompt_too_long 7 (70%), broken_json 3 (30%)" in labels


def test_a_code_of_two_steps_is_told_apart() -> None:
    errors = [ErrorCount("timeout", step, 1, "r", "late") for step in ("generate", "verify")]
    page = Page(render_report(dataclasses.replace(EMPTY, rows=Rows(2, failed=2), errors=errors)))
    labels = [svg["aria-label"] for svg in page.of("svg")]
    assert "Failed rows by cause: timeout in generate 1 (50%), timeout in verify 1 (50%)" in labels


def test_failed_rows_that_no_error_explains_are_said() -> None:
    page = Page(render_report(dataclasses.replace(FULL, rows=Rows(12, failed=12))))
    assert "They account for 10 of 12 failed rows." in page.text
    assert (
        "3 rows failed; their errors"
        in Page(render_report(dataclasses.replace(EMPTY, rows=Rows(3, failed=3)))).text
    )


def test_pauses_and_length_limit_are_said(full: Page) -> None:
    assert "The run was started 2 times; it stood still for 1 h 1 min between sessions" in full.text
    assert "Lengths of 4 generated samples; 16.7% were cut at a length limit." in full.text


@pytest.mark.parametrize(
    ("lengths", "reasons", "limit"),
    [
        ([1, 64, 64], {"length": 2, "stop": 1}, 64),
        ([64], {"length": 1}, 64),
        ([1, 64, 64], {"stop": 3}, None),
        ([1, 63, 64], {"length": 1}, None),  # one sample of many: cut rows need not be among those measured
        ([], {"length": 1}, None),
    ],
)
def test_length_limit(lengths: list[int], reasons: dict[str, int], limit: int | None) -> None:
    assert length_limit(lengths, reasons) == limit


def test_samples_stand_beside_their_inputs(full: Page) -> None:
    assert len(full.of("article")) == 3
    assert "r-1 accepted Input topic assert Prompt as sent Ask about it. Output, generated by AI" in full.text
    assert "What is it? ended by stop · seed 42" in full.text
    assert "Rejected because too_short Hm. cut at the length limit" in full.text
    assert "Failed with timeout late" in full.text
    assert "Show all 1,500 characters" in full.text
    (image,) = full.of("img")
    assert str(image["src"]).startswith("data:image/webp;base64,")
    assert image["alt"] == "Picture in image of row r-3"
    assert "raw (5 bytes)" in full.text


def test_lineage_and_footer(full: Page) -> None:
    assert "Name writer Ref ./model Digest sha256:ab Engine torch Job name: questions Manifest {" in full.text
    assert "data/0.parquet" in full.text
    assert "were generated by AI models" in full.text


def test_empty_run_reads_well() -> None:
    page = Page(render_report(EMPTY))
    for said in (
        "No failed rows.",
        "Too short to be drawn.",
        "No generated samples",
        "No rows to show.",
        "not yet",
        "02:04:05 UTC",
    ):
        assert said in page.text
    assert "nan" not in page.text.lower()
    assert not page.of("svg")


def test_one_throughput_point_is_drawn() -> None:
    page = Page(render_report(dataclasses.replace(EMPTY, throughput=[(2.0, 8, 100, 0.5)])))
    assert "Throughput over 2 s: 4 rows/s, 50 output tokens/s" in [
        svg["aria-label"] for svg in page.of("svg")
    ]


def hostile(value: Any, text: str) -> Any:
    """The same data with every string replaced by `text`."""
    if isinstance(value, str):
        return text
    if isinstance(value, dict):
        return type(value)({f"{text}{i}": hostile(v, text) for i, v in enumerate(value.values())})
    if isinstance(value, list | tuple):
        return type(value)(hostile(v, text) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value)(
            **{f.name: hostile(getattr(value, f.name), text) for f in dataclasses.fields(value)}
        )
    return value


def check_asks_for_nothing(page: Page) -> None:
    assert {tag for tag, _ in page.tags} <= TAGS
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("srcset", "action", "srcdoc")]
        for name in ("src", "href", "xlink:href"):
            target = attrs.get(name)
            assert target is None or target.startswith(("#", "data:")), (tag, target)
        for target in re.findall(r"url\(([^)]*)", attrs.get("style") or ""):
            assert target.startswith("#")
    assert not re.search(r"@import|url\(|@font-face", page.css)


def test_page_asks_for_nothing_and_is_well_formed(full: Page) -> None:
    check_asks_for_nothing(full)
    assert full.open == []
    (policy,) = [m["content"] for m in full.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    ids = [attrs["id"] for _, attrs in full.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in full.of("a")} <= {f"#{name}" for name in ids}
    assert {"header", "nav", "main", "footer", "h1"} <= {tag for tag, _ in full.tags}


def test_hostile_strings_everywhere_stay_text() -> None:
    page = Page(render_report(hostile(FULL, HOSTILE)))
    check_asks_for_nothing(page)
    assert page.open == []
    assert page.text.count("{{ 7 * 7 }}") > 15
    assert "49" not in page.text


def test_characters_that_show_nothing_are_shown() -> None:
    html = render_report(hostile(FULL, "a\x00\x1b\u202e\ud800z"))
    html.encode()
    assert "a\\x00\\x1b\\u202e\\ud800z" in html
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", html)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast_in_light_and_dark(full: Page) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{([^}]*)", full.css)
    ]
    assert len(schemes) == 2
    for scheme in schemes:
        for ink in ("ink", "muted", "accent", "accepted", "rejected", "failed"):
            for paper in ("page", "card"):
                low, high = sorted((luminance(scheme[ink]), luminance(scheme[paper])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)


def test_large_reports_stay_small() -> None:
    """The figures that the report promises: under 1.5 MB with 30 samples and 5,000 points."""
    noise = picture(500)
    texts = {f"column {i}": "<&\x00語" * 20_000 for i in range(20)}
    sample = SampleRow(
        "r", "accepted", None, {"image": noise, **texts}, "p" * 10**6, [("<" * 10**5, "stop", 1)] * 50
    )
    data = dataclasses.replace(
        FULL,
        throughput=[(float(t), t * 3, t * 500 + t % 7, 0.5 + t % 5 / 10) for t in range(5000)],
        samples=[sample] * 30,
        manifest={"chunks": [{"key": "k" * 5000} for _ in range(10_000)]},
        job_yaml="x" * 10**6,
        errors=[ErrorCount(f"code_{i}", None, 1, "r" * 5000, "m" * 5000) for i in range(500)],
    )
    html = render_report(data)
    page = Page(html)
    assert len(html.encode()) < 1_500_000
    assert 1 <= len(page.of("article")) < 30
    assert f"{30 - len(page.of('article'))} more were left out" in page.text
    assert "450 more causes of 450 rows are not listed." in page.text


def test_pictures_keep_to_their_own_budget() -> None:
    noise = {f"image {i}": picture(320) for i in range(12)}
    html = render_report(dataclasses.replace(EMPTY, samples=[SampleRow("r", "accepted", None, noise)] * 3))
    page = Page(html)
    assert len(html) < 500_000
    assert len(page.of("article")) == 3
    assert 1 < len(page.of("img")) < 36
    assert "bytes)" in page.text


def test_thirty_ordinary_samples_all_fit() -> None:
    sample = SampleRow(
        "r", "accepted", None, {"text": "word " * 400}, "word " * 450, [("word " * 100, "stop", 1)]
    )
    page = Page(render_report(dataclasses.replace(EMPTY, samples=[sample] * 30)))
    assert len(page.of("article")) == 30


def test_same_data_same_page() -> None:
    assert render_report(FULL) == render_report(FULL)


def test_unknown_words_and_times_are_shown_as_they_are() -> None:
    odd = SampleRow("r", "odd", "because", {}, None, [(None, None, None), ("x", "content_filter", 1)])
    page = Page(render_report(dataclasses.replace(EMPTY, started="yesterday", samples=[odd])))
    for said in (
        "Started yesterday",
        "r odd",
        "Nothing could be read.",
        "empty text · end unknown",
        "ended by content_filter",
    ):
        assert said in page.text
