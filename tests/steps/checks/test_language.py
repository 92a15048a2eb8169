"""Language: known texts in known languages, and codes that there are not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from raygen.steps.checks import language
from raygen.steps.checks.language import LONGEST, known_languages, ranked_languages
from tests.steps.scripted import Writer, job_of, run

ENGLISH = "The cat sat on the mat and looked out of the window for a long time."
GERMAN = "Der Hund lief schnell über die Straße und sah sich nicht einmal um."
GENERATE = {"generate": {"model": "writer", "prompt": "x", "samples": 2}}


def checked(**config: object) -> dict:
    return {"verify": {"language": config}}


def test_samples_in_another_language_are_rejected() -> None:
    writer = Writer(lambda prompt, n: [ENGLISH, GERMAN][n])
    found = run(job_of(GENERATE, checked(allowed=["en"])), writer)
    assert [each["text"] for each in found.samples] == [ENGLISH]
    assert 0.9 < found.samples[0]["scores"]["verify"] <= 1
    rejected = next(each for each in found.attempts if each["decision"] == "language")
    assert rejected["detail"].startswith("its language is de (100%); wanted: en (0%)")
    assert next(iter(rejected["scores"])) == "de"
    both = run(job_of(GENERATE, checked(allowed=["en", "de"])), writer)
    assert len(both.samples) == 2


def test_a_text_that_does_not_tell_is_rejected() -> None:
    found = run(job_of(GENERATE, checked(allowed=["en"])), Writer(lambda prompt, n: "42"))
    assert found.reason == "language"
    assert (
        run(job_of(GENERATE, checked(allowed=["en"], at_least=0)), Writer(lambda p, n: "42")).reason is None
    )


def test_only_the_beginning_of_a_long_text_is_looked_at() -> None:
    beginning = f"{ENGLISH} " * (LONGEST // len(ENGLISH) + 1)
    assert ranked_languages(beginning + GERMAN * 5000) == ranked_languages(beginning)


def test_probabilities_add_up_to_one() -> None:
    for text in (ENGLISH, GERMAN, "", "42", "\ud800"):
        assert sum(chance for _, chance in ranked_languages(text)) == pytest.approx(1, abs=1e-4)


def test_threads_load_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from py3langid.langid import LanguageIdentifier

    loaded = []
    load = LanguageIdentifier.from_model_file

    def counted(*args: object, **more: object) -> object:
        loaded.append(args)
        return load(*args, **more)

    monkeypatch.setattr(LanguageIdentifier, "from_model_file", counted)
    language._load.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ranked_languages, [ENGLISH, GERMAN] * 8))
    assert len(loaded) == 1
    assert {ranked[0][0] for ranked in found[::2]} == {"en"}
    assert {ranked[0][0] for ranked in found[1::2]} == {"de"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"allowed": ["en", "english"]},
            r"steps\.1\.verify\.language\.allowed: no language 'english'; languages: .*en",
        ),
        ({"allowed": []}, r"steps\.1\.verify\.language\.allowed"),
        ({"allowed": ["en"], "at_least": 1.5}, r"steps\.1\.verify\.language\.at_least"),
    ],
)
def test_what_cannot_be_is_refused_before_work(config: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(GENERATE, checked(**config))
    assert "en" in known_languages()
