"""Chat examples: rows to tokens and targets of a causal LM, as the model will meet them when it generates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raygen.data.paths import is_in_text
from raygen.data.text.messages import checked_messages
from raygen.data.text.tools import checked_tools, whole_tools
from raygen.engines.text_messages import text_only
from raygen.errors import ConfigError, RowError, first_line
from raygen.models.text.chat_tokenizer import ChatTokenizer
from raygen.train.families.text_lessons import CausalLMObjective, TokenBatch
from raygen.train.families.text_units import IGNORED, TextExample
from raygen.train.recipe import Recipe

SPOKEN = (
    "content",
    "reasoning_content",
    "reasoning",
    "thinking",
)  # fields of what an assistant says and thinks


class ChatExamples:
    """Encodes rows as a recipe's objective says.

    What the model is to write is tokenised apart from what stands before it: so it is when it generates. It ends with
    the token that ends its turn, which bears loss too: so it learns to stop.

    Raises:
        ConfigError: `messages` with a base that has no chat template.
    """

    def __init__(self, recipe: Recipe, chat: ChatTokenizer) -> None:
        objective, batch = recipe.objective, recipe.batch
        assert isinstance(objective, CausalLMObjective)
        assert isinstance(batch, TokenBatch)
        self._objective = objective
        self._max_tokens = batch.max_tokens
        self._cut = recipe.preparation.too_long == "cut"
        self._chat = chat
        self._tokenizer = chat.tokenizer
        if objective.messages is not None and not self._tokenizer.chat_template:
            raise ConfigError(
                "objective.messages: the base has no chat template; use `prompt` and `completion`"
            )
        self._typed = any(source.format == "parquet" for source in recipe.sources)
        self._templates = objective.templates()

    def check(self) -> None:
        """Refuse what the chat template leaves out. Raises ConfigError: a part of the recipe would not reach the model."""
        template = self._chat.template
        if fault := template.argument_fault():
            raise ConfigError(fault)
        if fault := template.chance_fault():
            raise ConfigError(f"base: {fault}")
        if self._objective.system is not None and (fault := template.system_fault()):
            raise ConfigError(f"objective.system: {fault}; put the text into `prompt`")
        if self._objective.tools and (fault := self._chat.tools_fault()):
            raise ConfigError(f"objective.tools: {fault}")

    def encode(self, row_id: str, row: Mapping[str, Any]) -> TextExample:
        """Tokenise a row. Raises RowError; see Trainer.encode."""
        texts = {name: template.render(row) for name, template in self._templates.items()}
        if "text" in texts:
            pieces = [(self._plain(texts["text"]), True)]
        elif "completion" in texts:
            if not texts["completion"].strip():
                raise RowError("missing_value", "objective.completion: nothing is left to learn in this row")
            pieces = self._completion(texts)
        else:
            pieces = self._chat_pieces(*self._chat_of(row))
        ids = [token for piece, _ in pieces for token in piece]
        targets = [token if learnt else IGNORED for piece, learnt in pieces for token in piece]
        if len(ids) > self._max_tokens:
            if not self._cut:
                raise RowError("too_long", f"{len(ids)} tokens; batch.max_tokens allows {self._max_tokens}")
            ids, targets = ids[: self._max_tokens], targets[: self._max_tokens]
        self._chat.checked(ids)
        targets[:1] = [IGNORED]  # nothing stands before it that could foretell it
        if all(target == IGNORED for target in targets):
            raise RowError("no_targets", f"no token bears loss among the first {self._max_tokens}")
        return TextExample(row_id, ids, targets)

    def _plain(self, text: str) -> list[int]:
        ids = self._tokens(text, specials=True)
        return ids if ids and ids[-1] in self._chat.eos_ids else [*ids, self._eos()]

    def _completion(self, texts: dict[str, str]) -> list[tuple[list[int], bool]]:
        system, prompt, completion = texts.get("system"), texts["prompt"], texts["completion"]
        if self._tokenizer.chat_template:
            messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
            if system is not None:
                messages.insert(0, {"role": "system", "content": system})
            return self._chat_pieces(messages)
        before = self._tokens(prompt if system is None else f"{system}\n{prompt}", specials=True)
        return [(before, False), ([*self._tokens(completion), self._eos()], True)]

    def _chat_pieces(
        self, messages: list[dict[str, Any]], learnt_from: int = 0, tools: list[dict[str, Any]] | None = None
    ) -> list[tuple[list[int], bool]]:
        """Cut a chat before and behind everything of the assistant's that is to be learnt.

        Args:
            learnt_from: number of the first message that may be.
        """
        messages = self._chat.with_tools(messages, tools)
        turns = [n for n, each in enumerate(messages) if each["role"] == "assistant" and n >= learnt_from]
        if not turns:
            where = "" if learnt_from == 0 else " of the completion"
            raise RowError("no_targets", f"no message{where} is the assistant's")
        pieces: list[tuple[list[int], bool]] = []
        done = ""
        for number in turns[-1:] if self._objective.turns == "last" else turns:
            answered = self._render(messages[: number + 1], tools, ask=False)
            asked = self._render(messages[:number], tools, ask=True) if number else self._opening(tools)
            if not asked.startswith(done):
                raise RowError(
                    "bad_messages",
                    f"the base's chat template writes what stands before message {number} otherwise once it follows; "
                    "`objective.turns: last` learns from each chat's last turn alone",
                )
            if not answered.startswith(asked):
                raise RowError(
                    "bad_messages",
                    f"the base's chat template begins message {number} (assistant) otherwise than where it lets the "
                    "assistant speak",
                )
            _check_whole(messages[number], answered[len(done) :], number)
            said, rest = self._turn(answered[len(asked) :])
            pieces += [(self._tokens(asked[len(done) :]), False), (said, True), (rest, False)]
            done = answered
        return pieces[:-1]  # nothing is learnt from what comes after the last turn

    def _opening(self, tools: list[dict[str, Any]] | None) -> str:
        """Return what stands before the assistant's words where nobody spoke before: no template is asked for nothing."""
        mark = "raygenmark"
        user = [{"role": "user", "content": mark}]
        asked = self._render(user, tools, ask=True)
        before = self._render(user, tools, ask=False)
        opened = self._render([{"role": "assistant", "content": mark}], tools, ask=False).partition(mark)[0]
        lead = asked.removeprefix(before)  # what lets the assistant speak
        if lead in ("", asked) or lead not in opened:
            raise RowError("bad_messages", "the base's chat template lets no chat begin with the assistant")
        return opened[: opened.rindex(lead) + len(lead)]

    def _turn(self, text: str) -> tuple[list[int], list[int]]:
        """Return a turn's tokens up to the one that ends it, and those after it (a newline, with most templates)."""
        ids = self._tokens(text)
        ends = [place for place, token in enumerate(ids) if token in self._chat.eos_ids]
        if not ends or self._tokenizer.decode(ids[ends[-1] + 1 :]).strip():
            return [*ids, self._eos()], []
        return ids[: ends[-1] + 1], ids[ends[-1] + 1 :]

    def _chat_of(
        self, row: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], int, list[dict[str, Any]] | None]:
        """Return a row's messages, the number of the first to learn from, and its tools."""
        columns, tools = self._objective.messages, self._objective.tools
        if isinstance(columns, tuple):
            prompt, completion = (self._text_messages(row, column) for column in columns)
            messages, learnt_from = [*prompt, *completion], len(prompt)
        else:
            messages, learnt_from = self._text_messages(row, columns or ""), 0
        if isinstance(tools, str):
            return (
                messages,
                learnt_from,
                checked_tools(row.get(tools), tools, padded=self._is_padded(row, tools)),
            )
        return messages, learnt_from, whole_tools(tools) if tools else None

    def _text_messages(self, row: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
        messages = checked_messages(row.get(column), column, padded=self._is_padded(row, column))
        for number, message in enumerate(messages):
            try:
                messages[number : number + 1] = text_only([message], "training")
            except RowError as error:
                raise RowError(
                    "bad_messages", f"message {number} of column {column!r}: {error.message}"
                ) from None
        self._chat.template.check_roles(messages)
        return messages

    def _is_padded(self, row: Mapping[str, Any], column: str) -> bool:
        return self._typed and not is_in_text(row, column)

    def _render(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *, ask: bool
    ) -> str:
        try:
            return self._chat.template.render(messages, ask=ask, tools=tools)
        except Exception as error:  # templates are programs of the model's maker: any error is possible
            raise RowError(
                "bad_messages", f"the base's chat template refuses them: {first_line(error)}"
            ) from error

    def _tokens(self, text: str, *, specials: bool = False) -> list[int]:
        try:
            ids = self._tokenizer(text, add_special_tokens=specials, verbose=False)["input_ids"]
        except Exception as error:  # lone surrogates, and whatever else a tokenizer refuses
            raise RowError("invalid_text", f"the tokenizer refuses the text: {first_line(error)}") from error
        return list(ids)

    def _eos(self) -> int:
        own = self._tokenizer.eos_token_id
        if own is None and not self._chat.eos_ids:
            raise RowError("no_targets", "the base names no token that ends a text")
        return int(own if own is not None else min(self._chat.eos_ids))


def _check_whole(message: Mapping[str, Any], written: str, number: int) -> None:
    """Raise RowError `bad_messages` when a part of what is to be learnt was left out: but for white space it has to be there."""
    bare = "".join(written.split())
    for field in SPOKEN:
        text = message.get(field)
        if isinstance(text, str) and "".join(text.split()) not in bare:
            raise RowError(
                "bad_messages",
                f"the base's chat template leaves out a part of the {field} of message {number} (assistant)",
            )
