"""Log-probabilities: the chosen token is among those that are told; what is no number is written as one."""

from __future__ import annotations

from raygen.engines.requests import TokenLogprob
from raygen.wire.text.logprobs import UNLIKELY, chat_logprobs, text_logprobs


def test_a_chosen_token_is_told_even_if_others_are_more_probable():
    token = TokenLogprob(3, "c", -4.0, [(1, "a", -0.5), (2, "b", -1.5)])
    assert text_logprobs([token], others=2)["top_logprobs"] == [{"a": -0.5, "b": -1.5, "c": -4.0}]


def test_of_two_tokens_with_one_text_the_more_probable_is_told():
    token = TokenLogprob(3, "a", -4.0, [(1, "a", -0.5)])
    assert text_logprobs([token], others=1)["top_logprobs"] == [{"a": -0.5}]


def test_what_is_no_number_and_no_text_by_itself():
    token = TokenLogprob(3, "\N{REPLACEMENT CHARACTER}", float("-inf"), [(1, "ä", None)])
    [told] = chat_logprobs([token])["content"]
    assert (told["logprob"], told["bytes"]) == (UNLIKELY, None)
    assert told["top_logprobs"] == [{"token": "ä", "logprob": UNLIKELY, "bytes": [195, 164]}]
