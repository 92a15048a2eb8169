from __future__ import annotations

import pytest

from raygen.engines.torch.stopping import StopRule

EOS, OTHER_EOS, SPECIAL = 1000, 1001, 1002


def decode(ids: list[int]) -> str:
    """Tokens are bytes; special ones are left out."""
    return bytes(i for i in ids if i < 256).decode(errors="replace")


def generate(rule: StopRule, tokens: list[int]) -> tuple[str | None, str, int]:
    """Feed tokens until the rule says stop: finish reason, text, tokens taken."""
    for count in range(1, len(tokens) + 1):
        reason = rule.check(tokens[:count])
        if reason is not None:
            return reason, rule.text(tokens[:count]), count
    return None, rule.text(tokens), len(tokens)


def rule(*stop: str, limit: int = 10_000) -> StopRule:
    return StopRule(stop, {EOS, OTHER_EOS}, limit, decode)


def test_goes_on_without_a_reason():
    assert generate(rule("zz"), [*b"plain text z"]) == (None, "plain text z", 12)


@pytest.mark.parametrize("eos", [EOS, OTHER_EOS])
def test_every_end_of_text_token_ends_it(eos: int):
    assert generate(rule(), [*b"one", eos, *b"two"]) == ("stop", "one", 4)
    assert generate(rule(limit=1), [eos]) == ("stop", "", 1)


def test_an_end_of_text_token_that_decodes_to_something_is_no_part_of_the_text():
    assert generate(StopRule((), {ord("$")}, 9, decode), [*b"abc$def"]) == ("stop", "abc", 4)


def test_the_limit_counts_every_token():
    assert generate(rule(limit=3), [*b"abcdef"]) == ("length", "abc", 3)


def test_text_is_cut_before_a_stop_string_that_spans_tokens():
    assert generate(rule("\n\nQ:"), [*b"answer\nmore\n\nQ: next"]) == ("stop", "answer\nmore", 15)


def test_the_earliest_stop_string_counts_when_one_token_brings_several():
    words = {1: "a", 2: "b STOP c END"}
    both = StopRule(("END", "STOP"), (), 9, lambda ids: "".join(words[i] for i in ids))
    assert generate(both, [1, 2, 1]) == ("stop", "ab ", 2)


def test_stop_wins_over_length_at_the_last_token():
    assert generate(rule("END", limit=5), [*b"xxEND"]) == ("stop", "xx", 5)


def test_a_stop_string_of_multi_byte_characters_is_found_whole_only():
    text = "größer 終わり more".encode()
    assert generate(rule("終わり"), [*text]) == ("stop", "größer ", len("größer 終わり".encode()))


def test_a_long_text_is_not_searched_again_for_every_token():
    looked_at = []

    def counting(ids: list[int]) -> str:
        looked_at.append(len(ids))
        return decode(ids)

    found = generate(StopRule(("END!",), (), 10_000, counting), [*b"x" * 3000, *b"END!"])
    assert found == ("stop", "x" * 3000, 3004)
    assert sum(looked_at) < 3004 * 40


def test_special_tokens_within_a_stop_string_do_not_hide_it():
    assert generate(rule("END"), [*b"ok E", *[SPECIAL] * 10, ord("N"), SPECIAL, ord("D")])[:2] == (
        "stop",
        "ok ",
    )


def test_half_a_character_at_the_edge_of_the_window_is_no_stop_string():
    stop = "\ufffdb"  # what the second byte of an é, alone, and a b decode to
    tokens = [*b"x" * 20, *"éb".encode(), *b"y" * 40]
    assert generate(rule(stop), tokens)[0] is None
    assert generate(rule(stop), [*tokens, 0xA9, ord("b")])[:2] == ("stop", decode(tokens))
