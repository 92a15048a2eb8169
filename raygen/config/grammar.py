"""Grammar: a constraint as llguidance's grammar, and what is wrong with it; needs neither tokenizer nor model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

T = TypeVar("T")
STACK_BYTES = 512 * 2**20  # for grammars of 64 KiB, which hold chains of some thousands, many times over
_MAKING = threading.Lock()

# JSON stands in one line, with a space after commas and colons or none. White space without a bound is what a model
# fills the rest of a text with that does not like the next key.
ONE_LINE = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


def grammar_of(kind: str, value: Any) -> str:
    """Return llguidance's grammar of what a constraint allows, whole texts only. It may be wrong: see `fault_in`.

    Args:
        kind: choice, regex, json_schema or grammar; value: what stands under it in a job.
    """
    from llguidance import LLMatcher

    if kind == "choice":
        return LLMatcher.grammar_from_regex(choice_pattern(value))
    if kind == "regex":
        return LLMatcher.grammar_from_regex(ascii_digits(value))
    if kind == "json_schema":
        return LLMatcher.grammar_from_json_schema(json.dumps(guided_schema(value)))
    return LLMatcher.grammar_from_lark(value)


def ascii_digits(regex: str) -> str:
    r"""Return a regular expression whose `\d` means 0 to 9: all digits of all scripts is hardly what is meant."""
    from llguidance import regex_to_lark

    return regex_to_lark(regex, "d")


def choice_pattern(choices: Sequence[str]) -> str:
    """Return a regular expression that these texts match and no others.

    Not a Lark alternative for each: a mask of a thousand of them takes milliseconds, of one expression 0.1.
    """
    return "|".join(
        "".join(each if each.isalnum() else f"\\x{{{ord(each):x}}}" for each in choice) for choice in choices
    )


def guided_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON schema that says how much white space there may be; its own `x-guidance` has the last word."""
    own = schema.get("x-guidance", {})
    if not isinstance(own, Mapping):  # llguidance says what is wrong
        return dict(schema)
    return {**schema, "x-guidance": {**ONE_LINE, **own}}


def limits() -> LLParserLimits:
    """Return what a grammar may cost: llguidance's own bounds. Its errors leave out what was generated."""
    from llguidance import LLParserLimits

    return LLParserLimits(verbose_errors=False)


def with_room(function: Callable[[], T]) -> T:
    """Return what a function returns, run on a thread with a large stack.

    llguidance follows rules and references by recursion: a chain of a thousand of them ends a process whose stack has the usual
    8 MiB. Of the room only what is used takes memory.
    """
    found: Future[T] = Future()

    def run() -> None:
        try:
            found.set_result(function())
        except BaseException as error:  # noqa: BLE001 - a panic of its Rust code is no Exception; raised where it was asked for
            found.set_exception(error)

    with _MAKING:  # the size is the process's
        before = threading.stack_size(STACK_BYTES)
        try:
            thread = threading.Thread(target=run, name="grammar", daemon=True)
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    return found.result()


def matcher_of(tokens: LLTokenizer, grammar: str) -> LLMatcher:
    """Return a matcher before the first token. It may be in error from the beginning."""
    from llguidance import LLMatcher

    return with_room(lambda: LLMatcher(tokens, grammar, log_level=0, limits=limits()))


def fault_in(kind: str, value: Any) -> str | None:
    """Say in one line what is wrong with a constraint, or return None.

    One that no text fits, or only the empty text, is wrong; what cannot go on in the middle of a text is found only then.
    """
    return with_room(lambda: _fault_in(kind, value))


def _fault_in(kind: str, value: Any) -> str | None:
    import numpy as np
    from llguidance import LLMatcher, LLTokenizer

    try:
        grammar = grammar_of(kind, value)
    except (TypeError, ValueError) as error:
        return str(error)
    wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar, limits=limits())
    if wrong:
        return one_line(messages[0])
    if messages:  # it names special tokens: only a model's own tokenizer knows them
        return None
    letters = LLTokenizer("byte")
    matcher = matcher_of(letters, grammar)
    mask = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
    if matcher.is_error():
        return "no text fits it"
    return "only the empty text fits it" if not mask[: letters.eos_token].any() else None


def one_line(message: str) -> str:
    """Return what matters of llguidance's messages, which draw the place of an error below it."""
    lines = [line.strip() for line in message.splitlines()]
    last = [line for line in lines[1:] if line.startswith("error: ")]  # of a regular expression
    return " ".join([*lines[:1], *last])[:300]
