"""Streaming text: its pieces sum up to the finished text, and nothing is said too early."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raygen.engines.torch.stopping import StopRule
from raygen.engines.torch.text_stream import INCOMPLETE, TextStream
from tests.fakes.tiny_llama import tiny_tokenizer

EOS = 1000


def decode(ids: list[int]) -> str:
    return bytes(i for i in ids if i < 256).decode(errors="replace")


def pieces(rule: StopRule, tokens: list[int]) -> tuple[list[str], list[int]]:
    """Feed tokens one by one until the rule ends the text, or they do."""
    stream, found = TextStream(rule), []
    for count in range(1, len(tokens) + 1):
        ended = rule.check(tokens[:count]) is not None or count == len(tokens)
        found.append(stream.push(tokens[:count], ended))
        if ended:
            return found, tokens[:count]
    return found, tokens


@settings(deadline=None, max_examples=300)
@given(
    text=st.text(st.sampled_from("abé€𝄞 x"), max_size=40),
    stop=st.lists(st.text(st.sampled_from("ab€x"), min_size=1, max_size=4), max_size=2),
    minimum=st.integers(0, 12),
)
def test_pieces_sum_up_to_the_text(text: str, stop: list[str], minimum: int):
    rule = StopRule(stop, {EOS}, 10_000, decode, min_tokens=minimum)
    found, taken = pieces(rule, [*text.encode(), EOS])
    assert "".join(found) == rule.text(taken)
    assert INCOMPLETE not in "".join(found)


def test_text_comes_as_soon_as_it_is_certain():
    found, _ = pieces(StopRule(["STOP"], {EOS}, 99, decode), [*"a€ST b".encode(), EOS])
    assert found == ["a", "", "", "€", "", "", "ST ", "b", ""]
    found, _ = pieces(StopRule(["STOP"], {EOS}, 99, decode), [*b"go STOP on", EOS])
    assert found == ["g", "o", " ", "", "", "", ""]


def test_a_real_tokenizer_streams_what_it_decodes():
    tokenizer = tiny_tokenizer()
    ids = tokenizer("then in an answer: naïve 𝄞 the xyz")["input_ids"]
    rule = StopRule((), {1}, 999, lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True))
    found, _ = pieces(rule, ids)
    assert "".join(found) == tokenizer.decode(ids)
    assert len([piece for piece in found if piece]) > 10


def test_bytes_that_never_are_a_character_do_not_stop_the_stream():
    found, _ = pieces(StopRule((), {EOS}, 9999, decode), [0xFF] * 500)
    assert len("".join(found)) == 500
    assert sum(map(bool, found)) > 3
