"""PII: where personal data stands in a text, by patterns and checksums. Presidio's recognizers, on this machine alone.

No model is asked and nothing is downloaded or sent. Names of people and addresses of houses have no pattern, so they are
not found; docs and `benchmarks/quality/redact_recall.py` say how much of the rest is.
"""

from __future__ import annotations

import functools
import logging
import re
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from raygen.errors import RowError
from raygen.extras import require

NEAR_CHARS = 40  # before a find, where a word about it may stand
DOUBTFUL = 0.4  # finds with a lower score count only near a word about them
# Endings of files that are domains too.
FILES = frozenset(("ai", "cc", "md", "ml", "mov", "pl", "ps", "py", "rs", "sh", "so", "st", "zip"))
VERSIONED = re.compile(
    r"(?:\b(?:v|ver|versions?|releases?|builds?|sections?|chapters?|firmware)\.?\s*|[§v])$", re.IGNORECASE
)
AT = r"(?: ?[(\[] ?at ?[)\]] ?| at )"
DOT = r"(?: ?[(\[] ?dot ?[)\]] ?| dot )"
UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


@dataclass(frozen=True, slots=True)
class Span:
    """A find: text[start:end] is one."""

    start: int
    end: int
    entity: str
    score: float


def require_pii() -> None:
    """Refuse to work without the extra. Raises ConfigError."""
    require("redact", "`redact`")


def find_pii(text: str, entities: Sequence[str]) -> list[Span]:
    """Return the finds in order. They do not overlap: of what does, the whole is one find, named by the surest.

    Args:
        entities: of ENTITIES; only these are looked for.

    Raises:
        ConfigError: the extra is not installed.
        RowError: a pattern took too long on this text, so that finds may be missing.
    """
    found = [span for entity in entities for span in _finds(text, entity)]
    found.sort(key=lambda span: (span.start, -span.end))
    merged: list[Span] = []
    for span in found:
        if merged and span.start < merged[-1].end:
            last = merged.pop()
            surest = max(last, span, key=lambda each: (each.score, each.end - each.start))
            end = max(last.end, span.end)
            span = Span(last.start, end, surest.entity, surest.score)
        merged.append(span)
    return merged


def _finds(text: str, entity: str) -> Iterable[Span]:
    recognizers, context, allowed = _recognizers(entity)
    for recognizer in recognizers:
        for each in recognizer.analyze(text, recognizer.supported_entities, None):
            if each.score < DOUBTFUL and not _is_about(text, each.start, context):
                continue
            if allowed is None or allowed(text, each.start, each.end):
                yield Span(each.start, each.end, entity, each.score)


def _is_about(text: str, start: int, context: Sequence[str]) -> bool:
    before = text[max(0, start - NEAR_CHARS) : start].casefold()
    return any(re.search(rf"\b{re.escape(word)}", before) for word in context)


def _no_version(text: str, start: int, end: int) -> bool:
    return VERSIONED.search(text[max(0, start - NEAR_CHARS) : start]) is None


class _Watch(logging.Handler):
    """Presidio only logs that a pattern took too long, and goes on without it. Here that is no way to go on.

    Its other lines quote the text, so that they go nowhere.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and isinstance(record.exc_info[1], TimeoutError):
            raise RowError("redact_timeout", "looking for personal data took too long on this row's text")


@functools.cache
def _recognizers(
    entity: str,
) -> tuple[list[Any], Sequence[str], Callable[[str, int, int], bool] | None]:
    """Return what finds an entity, the words that make doubtful finds sure, and what a find has to pass."""
    require_pii()
    from presidio_analyzer import Pattern, PatternRecognizer  # seconds: it brings spaCy with it
    from presidio_analyzer import predefined_recognizers as presidio
    from tldextract import TLDExtract

    log = logging.getLogger("presidio-analyzer")
    if not any(isinstance(each, _Watch) for each in log.handlers):
        log.addHandler(_Watch())
        log.propagate = False
    suffix_of = TLDExtract(
        suffix_list_urls=(), cache_dir=None
    )  # the list that it brings; it would fetch a newer

    class Email(presidio.EmailRecognizer):
        PATTERNS = (
            *presidio.EmailRecognizer.PATTERNS,
            Pattern("spelled out", rf"\b[\w.+-]+(?:{DOT}[\w.+-]+)*{AT}[\w-]+(?:{DOT}[\w-]+)+\b", 0.5),
        )

        def validate_result(self, pattern_text: str) -> bool | None:
            # Also without a public suffix: who writes an address of a private domain means somebody too.
            return True

    class Card(presidio.CreditCardRecognizer):
        PATTERNS = (
            *presidio.CreditCardRecognizer.PATTERNS,
            Pattern("Mastercard's newer series", r"\b2[2-7]\d{2}(?:[- ]?\d{4}){3}\b", 0.3),
            Pattern("dots", r"\b[2-6]\d{3}(?:\.\d{4}){3}\b", 0.3),
        )

        def __init__(self) -> None:
            super().__init__(replacement_pairs=[("-", ""), (" ", ""), (".", "")])

    class Iban(presidio.IbanRecognizer):
        def analyze(self, text: str, *arguments: Any) -> Any:
            return super().analyze(text.translate(UPPER), *arguments)

    class Url(PatternRecognizer):
        """Presidio's own has each domain's ending in one pattern, without its end: of `john.doe` it finds `john.do`."""

        def __init__(self) -> None:
            rest = r"(?:[/?#][^\s<>\"']*[^\s<>\"'.,;:!?)\]])?"
            host = r"(?:[\w-]+\.)+[^\W\d_][\w-]*"
            super().__init__(
                "URL",
                patterns=[
                    Pattern("scheme", r"\b(?:https?|ftp)://[^\s<>\"']*[^\s<>\"'.,;:!?)\]]", 0.6),
                    Pattern("www", rf"\bwww\.{host}(?::\d+)?{rest}", 0.6),
                    Pattern("domain", rf"(?<![@\w./-]){host}(?::\d+)?{rest}(?!\w)", 0.5),
                ],
            )

        def invalidate_result(self, pattern_text: str) -> bool:
            if "://" in pattern_text or pattern_text.lower().startswith("www."):
                return False
            host = re.split(r"[/?#:]", pattern_text)[0].lower()
            return not suffix_of(host).suffix or host.rpartition(".")[2] in FILES

    made: dict[str, tuple[list[Any], Callable[[str, int, int], bool] | None]] = {
        "email": ([Email()], None),
        "phone": ([presidio.PhoneRecognizer()], None),
        "credit_card": ([Card()], None),
        "iban": ([Iban()], None),
        "ip": ([presidio.IpRecognizer()], _no_version),
        "url": ([Url()], None),
        "ssn": ([presidio.UsSsnRecognizer()], None),
    }
    recognizers, allowed = made[entity]
    return recognizers, [word for each in recognizers for word in each.context or ()], allowed
