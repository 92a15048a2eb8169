"""Edits of a sentence: such as keep what it says, or say less; and such as turn it into its opposite."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

# Openings and asides without which a sentence says no more than before.
_OPENING = re.compile(
    r"^(?:However|Therefore|Thus|Hence|Also|Note that|In general|Generally|For example|For instance|In particular|Similarly|"
    r"Likewise|Furthermore|Moreover|In addition|Additionally|Conversely|Otherwise|In other words|That is|Finally|Usually|"
    r"Typically|As a result|Of course|In this case|In that case),? ",
)
_ASIDE = re.compile(
    r" \((?!\d)[^()]{3,120}\)|,? (?:e\.g\.|i\.e\.|for example|for instance),? [^,;.]{3,60}(?=[,;.])"
)
_TAIL = re.compile(
    r"(?:, (?:which|where|so that|since|because|as|though|although|so|and)|; | — | \(see|, see| because| since| so that) .*$"
)
_REWRITES: tuple[tuple[str, str], ...] = (
    (r"\bdoes not\b", "doesn't"), (r"\bdo not\b", "don't"), (r"\bis not\b", "isn't"), (r"\bare not\b", "aren't"),
    (r"\bcannot\b", "can't"), (r"\bmust\b(?! not)", "has to"), (r"\bit is possible to\b", "one can"),
    (r"\bin order to\b", "to"), (r"\bwhether or not\b", "whether"), (r"\bis used to\b", "serves to"),
    (r"\bbegins\b", "starts"), (r"\bmade up of\b", "composed of"), (r"\bprior to\b", "before"), (r"\bobtain\b", "get"),
    (r"\bcontains\b", "holds"), (r"\bcalled\b", "known as"), (r"\bis the same as\b", "equals"), (r"\bsuch as\b", "like"),
    (r"\bperform\b", "do"), (r"\bmay also\b", "may"), (r"\bcan also\b", "can"), (r"\bis also\b", "is"),
    (r"\bare also\b", "are"), (r"\bvery\b ", ""), (r"\btypically\b ", ""), (r"[“”\"]", ""), (r"\*", ""),
    (r"\bthis means that\b", "so"), (r"\bexecuted\b", "run"), (r"\bthat are\b ", ""), (r"\bbuilt-in\b", "builtin"),
    (r"\bidentical\b", "the same"), (r"\bspecified\b", "given"), (r"\bdefines\b", "sets"),
)  # fmt: skip
_FRAMES = ("{}", "{}", "{}", "{}", "The text says that {}", "It is said that {}", "According to the text, {}")

_AUXILIARY = re.compile(
    r"\b(?:cannot|can't|(is|are|was|were|can|may|must|will|should|has|have|does|do|could|would)(n't| not)?)\b(?! to\b)"
)
_OPPOSITES = (
    ("first", "last"), ("before", "after"), ("all", "none of the"), ("every", "no"), ("any", "no"), ("true", "false"),
    ("same", "different"), ("mutable", "immutable"), ("left", "right"), ("more", "fewer"), ("greater", "smaller"),
    ("less", "greater"), ("positive", "negative"), ("allowed", "forbidden"), ("beginning", "end"), ("start", "end"),
    ("single", "multiple"), ("optional", "required"), ("global", "local"), ("equal", "unequal"), ("inside", "outside"),
    ("with", "without"), ("explicitly", "implicitly"), ("explicit", "implicit"), ("lower", "higher"), ("empty", "non-empty"),
    ("supported", "unsupported"), ("valid", "invalid"), ("both", "neither of"), ("only", "not only"),
    ("always", "never"), ("some", "no"), ("public", "private"), ("success", "failure"), ("succeeds", "fails"),
    ("present", "absent"), ("ignored", "respected"), ("raises", "suppresses"), ("created", "destroyed"),
    ("increases", "decreases"), ("longest", "shortest"), ("largest", "smallest"), ("maximum", "minimum"),
    ("opening", "closing"), ("shallow", "deep"), ("possible", "impossible"), ("new", "existing"),
    ("innermost", "outermost"), ("above", "below"), ("ordered", "unordered"), ("enabled", "disabled"), ("old", "new"),
    ("short", "long"), ("early", "late"), ("accepts", "rejects"), ("include", "exclude"), ("includes", "excludes"),
    ("uppercase", "lowercase"), ("left-hand", "right-hand"),
)  # fmt: skip
_TURN = {**{b: a for a, b in _OPPOSITES if " " not in b}, **dict(_OPPOSITES)}
_TURNS = re.compile(
    r"\b(" + "|".join(sorted(map(re.escape, _TURN), key=len, reverse=True)) + r")\b(?!-)", re.IGNORECASE
)
_COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,4}|two|three|four|five|six|seven|eight|nine|ten)(?![\w.]*\w)")


def entailed(text: str, draws: random.Random) -> str | None:
    """Return a sentence that says the same in other words, or less; None when there is nothing to change."""
    made = text
    edits: list[Callable[[str], str]] = [
        _without_opening,
        _without_asides,
        _without_tail,
        lambda each: _rewritten(each, draws),
    ]
    for edit in draws.sample(edits, draws.choice((1, 2, 2, 3))):
        made = edit(made)
    if made != text or draws.random() < 0.3:
        frame = draws.choice(_FRAMES)
        made = frame.format(made if frame == "{}" else _inside(made))
    made = " ".join(made.split())
    return made if made != text and len(made.split()) >= 4 else None


def _inside(text: str) -> str:
    """Return a sentence as it stands within another: small at its beginning, unless that is a name."""
    word = text.split(maxsplit=1)[0]
    return text[:1].lower() + text[1:] if word.istitle() and word.isalpha() else text


def _without_opening(text: str) -> str:
    made = _OPENING.sub("", text)
    return made[:1].upper() + made[1:]


def _without_asides(text: str) -> str:
    return _ASIDE.sub("", text)


def _without_tail(text: str) -> str:
    """Return what stands before a remark at the end, if it is as long as a sentence. A condition (`if`, `when`) is no remark."""
    made = _TAIL.sub("", text).rstrip(".,;: ")
    return f"{made}." if len(made.split()) >= 5 and made != text.rstrip(".") else text


def _rewritten(text: str, draws: random.Random) -> str:
    fitting = [rule for rule in _REWRITES if re.search(rule[0], text)]
    for pattern, new in draws.sample(fitting, min(len(fitting), draws.choice((1, 2, 3)))):
        text = re.sub(pattern, new, text)
    return text


def negated(text: str, draws: random.Random) -> str | None:
    """Put a `not` to an auxiliary verb of the main clause, or take it away; None when there is none."""
    found = next(iter(_AUXILIARY.finditer(text)), None)
    if found is None or re.search(
        r"\b(?:if|when|unless|whether|that|which|who|where)\b", text[: found.start()], re.IGNORECASE
    ):
        return None
    word = found[0]
    if word in ("cannot", "can't"):
        new = "can"
    elif found[2]:
        new = found[1]
    else:
        new = "cannot" if word == "can" else f"{word} not"
    return text[: found.start()] + new + text[found.end() :]


def turned(text: str, draws: random.Random) -> str | None:
    """Turn one word to its opposite; None when there is none to turn."""
    found = list(_TURNS.finditer(text))
    if not found:
        return None
    word = draws.choice(found)
    new = _TURN[word[0].lower()]
    return text[: word.start()] + (new.capitalize() if word[0][0].isupper() else new) + text[word.end() :]


def number_changed(text: str, draws: random.Random) -> str | None:
    """Change a number; None when there is none."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    number = draws.choice(found)
    if number[0].isdigit():
        new = str(int(number[0]) + draws.choice((1, 2, 3, 7)))
    else:
        new = draws.choice([each for each in _COUNTS if each != number[0]])
    return text[: number.start()] + new + text[number.end() :]
