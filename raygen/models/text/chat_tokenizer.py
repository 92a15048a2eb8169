"""The chat tokenizer: chat messages to token ids by the model's own template, and tokens back to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from raygen.errors import EngineConfigError, RowError, first_line
from raygen.models.text.chat_template import AS_IT_IS, ChatTemplate, TemplateRules
from raygen.models.text.plain_data import PlainData
from raygen.models.text.tool_chat import TOOL, ToolChat, has_tools


@dataclass(slots=True)
class ChatTokenizer:
    tokenizer: Any  # transformers' own
    eos_ids: frozenset[int]  # any of them ends a text
    context_tokens: int  # prompt and generated tokens together
    rows: int | None = field(
        default=None, kw_only=True
    )  # tokens that the model reads and writes; None: not known
    rules: TemplateRules = field(default=AS_IT_IS, kw_only=True)
    template: ChatTemplate = field(init=False)
    _tool_chat: ToolChat = field(init=False)
    _plain: PlainData | None = field(init=False)  # None: what stands in messages may be control tokens

    def __post_init__(self) -> None:
        self._plain = PlainData(self.tokenizer) if self.rules.data_as_text else None
        self.template = ChatTemplate(self.tokenizer, self.rules)
        self._tool_chat = ToolChat(lambda messages, tools: self.template.render(messages, tools=tools))

    def encode(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> list[int]:
        """Return the token ids of a chat, by the model's own template; without one, of the joined contents.

        Raises:
            RowError: `invalid_messages`, the template or the tokenizer refuses them, or would leave some, tools or calls out;
                `empty_prompt`; `invalid_text`, one of the tokens is none of the model's.
        """
        self.template.check_roles(messages)
        messages = self.with_tools(messages, tools)
        try:
            if self.tokenizer.chat_template:
                ids = self._chat_ids(messages, tools)
            else:
                ids = self._text_ids("\n".join(message["content"] for message in messages), specials=True)
        except RowError:
            raise
        except Exception as error:  # templates are programs of the model's maker: any error is possible
            raise RowError(
                "invalid_messages",
                f"the model's chat template or tokenizer refuses them: {first_line(error)}",
                public="the model's chat template or tokenizer refuses the messages",
            ) from error
        return self.checked(ids or self.first())

    def _chat_ids(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> list[int]:
        text = self.template.render(messages, tools=tools)
        if self._plain is not None:
            self._plain.check(text)
            marked = self._plain.marked(messages), self._plain.marked(tools) if tools else None
            ids = self._plain.tokens(self.template.render(marked[0], tools=marked[1]))
            if ids is not None:
                return ids
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text_ids(self, text: str, *, specials: bool) -> list[int]:
        if self._plain is not None and (ids := self._plain.tokens_of(text, specials=specials)) is not None:
            return ids
        return list(self.tokenizer(text, add_special_tokens=specials)["input_ids"])

    def with_tools(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
    ) -> list[dict[str, Any]]:
        """Return messages with tool calls as the template needs them. Raises RowError, as `encode` does."""
        as_before = self.rules.lenient and not tools and all("content" in message for message in messages)
        if as_before or not has_tools(messages, tools):
            return messages
        if not self.tokenizer.chat_template:
            if not tools and all("content" in message for message in messages):
                return messages
            raise RowError(
                "invalid_messages", "the model has no chat template: it knows no tools and no tool calls"
            )
        return self._tool_chat.whole(messages, tools)

    def tools_fault(self) -> str | None:
        """Say why tools would not reach the model; None: they would."""
        try:
            self.with_tools([{"role": "user", "content": "text"}], [TOOL])
        except RowError as error:
            return error.message
        return None

    def encode_text(self, text: str) -> list[int]:
        """Return the token ids of a text that something stands before. Raises RowError `invalid_text`."""
        return self.checked(self._taken(text, specials=False))

    def _taken(self, text: str, *, specials: bool) -> list[int]:
        """Return a text's token ids. Raises RowError `invalid_text`: the tokenizer refuses it."""
        try:
            return self._text_ids(text, specials=specials)
        except Exception as error:  # such as half a surrogate pair
            raise RowError(
                "invalid_text",
                f"the tokenizer refuses it: {first_line(error)}",
                public="the model's tokenizer refuses the text",
            ) from error

    def encode_prompt(self, prompt: str | Sequence[int]) -> list[int]:
        """Return the token ids of a prompt that goes on as it is: no chat template.

        Args:
            prompt: text, to which the tokenizer adds what it adds to any text, such as a token that begins texts; or token ids.

        Raises:
            RowError: `invalid_text`, the tokenizer refuses it; `invalid_prompt`, an id is none of the model's; `empty_prompt`.
        """
        if isinstance(prompt, str):
            return self.checked(self._taken(prompt, specials=True) or self.first())
        known = self.rows if self.rows is not None else len(self.tokenizer)
        wrong = next((token for token in prompt if not 0 <= token < known), None)
        if wrong is not None:
            raise RowError("invalid_prompt", f"there is no token {wrong}: the model's are 0 to {known - 1}")
        return list(prompt) or self.first()

    def first(self) -> list[int]:
        """Return what an empty prompt is to the model: the token that begins texts. Raises RowError `empty_prompt`."""
        if self.tokenizer.bos_token_id is None:
            raise RowError(
                "empty_prompt", "the prompt has no tokens, and the model has none to begin a text with"
            )
        return [self.tokenizer.bos_token_id]

    def checked(self, ids: Sequence[int]) -> list[int]:
        """Return tokens that the model can read. Raises RowError `invalid_text`: it has no numbers for one of them."""
        check_known(ids, self.rows, self.tokenizer)
        return list(ids)

    def beginning(self) -> list[int]:
        """Return what stands before a text that nothing else does: the token that begins texts, or else ends them.

        Raises:
            RowError: `empty_prompt`, the model has neither.
        """
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return [token]
        raise RowError("empty_prompt", "the model has no token that begins or ends a text")

    def decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def token_text(self, token: int) -> str:
        """Return one token as text, special ones too; what is no text alone becomes a replacement character."""
        text: str = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return text

    def special_id(self, text: str) -> int | None:
        """Return the id of a special token by its text: `decode` leaves it out, so no search finds it."""
        found = self.tokenizer.get_added_vocab().get(text)
        return found if found is not None and self.tokenizer.added_tokens_decoder[found].special else None

    def end_ids(self, stop: tuple[str, ...]) -> frozenset[int]:
        """Return the tokens that end a text with these stop strings: some of them may be special tokens."""
        return self.eos_ids | {found for text in stop if (found := self.special_id(text)) is not None}


def check_known(ids: Sequence[int], rows: int | None, tokenizer: Any) -> None:
    """Raise RowError `invalid_text` when a token lies beyond the model's embedding: a tokenizer may know more than its model.

    Args:
        rows: of the embedding; None: not known, so nothing is checked.
    """
    if rows is not None and ids and (token := max(ids)) >= rows:
        raise RowError(
            "invalid_text",
            f"the tokenizer knows {tokenizer.decode([token])!r} as token {token}, and the model does not: its tokens are "
            f"0 to {rows - 1}",
        )


def load_chat_tokenizer(path: str, rules: TemplateRules = AS_IT_IS) -> ChatTokenizer:
    """Load the tokenizer of a model directory, and what its configs say; no weights. Raises EngineConfigError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EngineConfigError(f"cannot load a tokenizer from {path}: {first_line(error)}") from error
    try:
        generation = GenerationConfig.from_pretrained(path, local_files_only=True)
    except OSError:  # a model need not have one
        generation = None
    eos_ids = eos_ids_of(generation, config, tokenizer)
    return ChatTokenizer(tokenizer, eos_ids, context_of(config), rows=rows_of(config), rules=rules)


def rows_of(config: Any) -> int | None:
    """Return how many tokens a model's embedding has rows for, by its config."""
    rows = getattr(config.get_text_config(), "vocab_size", None)
    return int(rows) if rows else None


def eos_ids_of(generation_config: Any, config: Any, tokenizer: Any) -> frozenset[int]:
    """Union: chat models name the end of a turn in the generation config only, or in the tokenizer only."""
    named = [getattr(each, "eos_token_id", None) for each in (generation_config, config, tokenizer)]
    lists = [ids if isinstance(ids, list) else [ids] for ids in named if ids is not None]
    return frozenset(token for ids in lists for token in ids)


def context_of(config: Any) -> int:
    """Return how many tokens a model's config lets prompt and output have together."""
    text_config = config.get_text_config(decoder=True)
    context = int(getattr(text_config, "max_position_embeddings", 0) or 2048)
    rope = getattr(text_config, "rope_parameters", None) or {}
    for parameters in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        # These change all frequencies once any row of a batch is longer: rows would depend on each other.
        if parameters.get("rope_type") in ("dynamic", "longrope"):
            original = parameters.get("original_max_position_embeddings") or getattr(
                text_config, "original_max_position_embeddings", None
            )
            context = min(context, int(original or context))
    return context
