"""Page: what the reports are made with, templates that take any text as text, and long texts folded."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from raygen import formatting as display
from raygen.reports.remedies import remedy

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT_KEY = "report.html"  # in the directory of a run, a training, or a self-improvement
FOLD_CHARS, FOLD_LINES = 480, 12  # a longer text is folded
TEXT_CHARS = 4000  # of one text are shown


@dataclass(frozen=True)
class Folded:
    """A text to show: whole, or folded under its beginning."""

    whole: str
    preview: str | None  # None: short enough to be shown whole
    chars: int  # length of the text itself, of which `whole` may be a part


def fold(value: Any) -> Folded:
    """Return a value as text, folded if it is long."""
    text = value if isinstance(value, str) else display.as_text(value)
    whole = display.cut(text, TEXT_CHARS)
    lines = whole.split("\n")
    if len(whole) <= FOLD_CHARS and len(lines) <= FOLD_LINES:
        return Folded(whole, None, len(text))
    return Folded(whole, "\n".join(lines[:FOLD_LINES])[:FOLD_CHARS].rstrip() + " …", len(text))


@functools.cache
def page_environment() -> Environment:
    """Return the Jinja environment of all pages: undefined names are errors, all that is printed is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("raygen.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever is put into the page shows all its characters; only the plots are markup.
        finalize=lambda v: display.visible(v) if isinstance(v, str) and not isinstance(v, Markup) else v,
    )
    environment.filters |= {
        "number": display.number,
        "share": display.share,
        "duration": display.duration,
        "count_of": display.count,
        "as_text": display.as_text,
        "cut": display.cut,
        "moment": _moment,
        "remedy": remedy,
    }
    return environment


def _moment(iso: str) -> str:
    """Return a point in time for people, in UTC; what is no ISO 8601 stays as it is."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    if moment.tzinfo is None:
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
