"""Attribution: which words of a pair made a classifier say a label, by integrated gradients over its word embeddings."""

# Shape letters: L = tokens of a pair, S = steps of the integral.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from raygen.errors import MetricInputError

if TYPE_CHECKING:
    from raygen.models.text.encoder import Encoder

TOLERANCE = 0.01  # of the probability: the integral is made finer until it adds up to this
STEPS = (32, 64, 128, 256)
BATCH = 16  # points of the integral computed at once: bounds the memory
LEVELS = 3  # of drawing, in each direction
PREMISE, HYPOTHESIS = "premise", "hypothesis"


class Word(NamedTuple):
    text: str
    part: str  # premise | hypothesis
    score: float  # what it adds to the probability of the label; below 0: what it takes away
    start: int  # its place in its part, in characters
    end: int


class Pair(NamedTuple):
    """What was judged. Of several premises, the one that speaks most for the label is what counts."""

    premises: Sequence[str]
    hypothesis: str
    label: str


@dataclass(frozen=True)
class Attribution:
    """A probability, taken apart: the words' scores add up to `probability - baseline + delta`."""

    premise: str
    hypothesis: str
    label: str
    words: list[Word]  # in order, premise first; special tokens are left out, pieces of a word are one
    probability: float  # of the label
    baseline: float  # of the label, when every word is hidden
    delta: float  # the error of completeness
    steps: int  # of the integral


def attribute(
    model_path: str | Path, premise: str, hypothesis: str, label: str, max_tokens: int | None = None
) -> Attribution:
    """Take apart the probability that a classifier gives a label for a pair of texts. See `attribute_pairs`."""
    return attribute_pairs(model_path, [Pair([premise], hypothesis, label)], max_tokens)[0]


def attribute_pairs(
    model_path: str | Path, pairs: Sequence[Pair], max_tokens: int | None = None
) -> list[Attribution]:
    """Take apart probabilities, one a pair, on the CPU in float32. The same arguments give the same numbers.

    The path of the integral leads from a pair with every word hidden (the tokenizer's mask token, else its unknown token)
    to the pair itself; special tokens and positions stay as they are.

    Args:
        model_path: a directory with a classifier. max_tokens: a longer pair is cut there, as the engine cuts it.

    Raises:
        MetricInputError: the model has no such label, or its tokenizer does not say where tokens stand in a text.
        EngineError: the directory holds no classifier.
        RowError: the tokenizer refuses a text.

    Source:
        Sundararajan et al. 2017, arXiv:1703.01365; captum's LayerIntegratedGradients.
    """
    from raygen.models.text.encoder import load_classifier

    encoder = load_classifier(str(model_path), "float32", "cpu")
    encoder.model.requires_grad_(False)
    limit = min(encoder.limit, max_tokens or encoder.usual_limit)
    return [_attribute(encoder, pair, limit) for pair in pairs]


def _attribute(encoder: Encoder, pair: Pair, limit: int) -> Attribution:
    import torch
    from captum.attr import LayerIntegratedGradients  # type: ignore[import-untyped]

    if pair.label not in encoder.labels:
        raise MetricInputError(
            f"the model has no label {pair.label!r}; labels: {', '.join(encoder.labels) or 'none'}"
        )
    if not encoder.tokenizer.is_fast:
        raise MetricInputError("the model's tokenizer does not say where its tokens stand in a text")
    target = encoder.labels.index(pair.label)

    def probability(ids_SL: Any, *types_SL: Any) -> Any:
        more = {"token_type_ids": types_SL[0]} if types_SL else {}
        logits = encoder.model(input_ids=ids_SL, attention_mask=torch.ones_like(ids_SL), **more).logits
        chances = torch.sigmoid(logits) if encoder.multi_label else torch.softmax(logits, -1)
        return chances[:, target]

    premise, inputs = max(
        ((each, _inputs(encoder, each, pair.hypothesis, limit)) for each in pair.premises),
        key=lambda one: float(probability(*one[1])),
    )
    encoded = _encoded(encoder, premise, pair.hypothesis, limit)
    parts = encoded.sequence_ids()
    hidden = _hidden_token(encoder.tokenizer)
    ids_L = encoded["input_ids"]
    hidden_L = [token if part is None else hidden for token, part in zip(ids_L, parts, strict=True)]
    baseline = torch.tensor([hidden_L])
    gradients = LayerIntegratedGradients(probability, encoder.model.get_input_embeddings())
    for steps in STEPS:
        scores, delta = gradients.attribute(
            inputs[0],
            baselines=baseline,
            additional_forward_args=inputs[1:] or None,
            n_steps=steps,
            internal_batch_size=BATCH,
            return_convergence_delta=True,
        )
        if abs(float(delta)) <= TOLERANCE:
            break
    scores_L = scores[0].sum(-1).double().tolist()
    with torch.no_grad():
        reached, begun = float(probability(*inputs)), float(probability(baseline, *inputs[1:]))
    words = _words(encoded, scores_L, premise, pair.hypothesis)
    return Attribution(
        premise, pair.hypothesis, pair.label, words, reached, begun, sum(scores_L) - (reached - begun), steps
    )


def _encoded(encoder: Encoder, premise: str, hypothesis: str, limit: int) -> Any:
    encoder.encode((premise, hypothesis), limit)  # raises RowError for what is no text
    return encoder.tokenizer(
        premise, hypothesis, truncation="longest_first", max_length=limit, return_offsets_mapping=True
    )


def _inputs(encoder: Encoder, premise: str, hypothesis: str, limit: int) -> tuple[Any, ...]:
    """Return input_ids (1, L), and token_type_ids where the model has them."""
    import torch

    tokens = encoder.encode((premise, hypothesis), limit)
    names = [name for name in ("input_ids", "token_type_ids") if name in tokens]
    return tuple(torch.tensor([tokens[name]]) for name in names)


def _hidden_token(tokenizer: Any) -> int:
    """Return the token that says nothing. Not the padding token if there is another: some models count positions by it."""
    known = (tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id)
    return int(next((token for token in known if token is not None), 0))


def _words(encoded: Any, scores_L: Sequence[float], premise: str, hypothesis: str) -> list[Word]:
    """Put pieces of one word together, and leave out what the tokenizer added."""
    texts = premise, hypothesis
    found: list[Word] = []
    before: tuple[int, int | None] | None = None
    carried = 0.0  # of white space that a tokenizer counts as a word: it goes to the next word
    places = zip(encoded.sequence_ids(), encoded.word_ids(), encoded["offset_mapping"], scores_L, strict=True)
    for part, word, (start, end), score in places:
        if part is None:
            before = None
            continue
        if not texts[part][start:end].strip():
            carried += score
            continue
        score, carried = score + carried, 0.0
        if found and word is not None and before == (part, word):
            start, score = found[-1].start, found[-1].score + score
            found.pop()
        text = texts[part][start:end]
        start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
        found.append(Word(text.strip(), (PREMISE, HYPOTHESIS)[part], score, start, end))
        before = part, word
    if found and carried:
        found[-1] = found[-1]._replace(score=found[-1].score + carried)
    return found


def spans(attribution: Attribution, part: str) -> list[tuple[str, float | None]]:
    """Cut a part's text into words with their scores and what stands between them, which has none."""
    text = attribution.premise if part == PREMISE else attribution.hypothesis
    return spans_of(
        text, [(word.start, word.end, word.score) for word in attribution.words if word.part == part]
    )


def spans_of(text: str, words: Iterable[tuple[int, int, float]]) -> list[tuple[str, float | None]]:
    """Cut a text. Words are given by start, end and score, in order; where two overlap, the first has the characters."""
    found: list[tuple[str, float | None]] = []
    done = 0
    for start, end, score in words:
        if end <= done:
            continue
        if start > done:
            found.append((text[done:start], None))
        found.append((text[max(done, start) : end], score))
        done = end
    return [*found, (text[done:], None)] if done < len(text) else found


def level(score: float | None, largest: float) -> int:
    """Return how strongly a score is drawn, from -LEVELS to LEVELS; 0: not at all.

    Args:
        largest: the largest score without its sign, of all that are drawn together.
    """
    if score is None or largest <= 0:
        return 0
    share = min(1.0, abs(score) / largest)
    return 0 if share < 0.1 else (1 if score > 0 else -1) * min(LEVELS, 1 + int(share * LEVELS))


def largest_of(attribution: Attribution) -> float:
    """Return the largest score of a word, without its sign; 0 if there are no words."""
    return max((abs(word.score) for word in attribution.words), default=0.0)
