"""What ends a run over an endpoint, in words for people: what is wrong, since when, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from raygen.engines.openai.chat_completions import Action, Trouble
from raygen.engines.silence import at

# Also what `raygen plan` says, which has nothing to resume.
AGAIN = "No row failed of it, and nothing is lost: run the same command again once that is mended"


@dataclass(frozen=True)
class EndpointEnd:
    """Words for the end of a run whose endpoint answers nobody.

    Args:
        model: the job's name for it; ref: the endpoint's.
        key: what holds the key, such as `environment variable OPENAI_API_KEY`; has_key: is there one?
    """

    model: str
    ref: str
    base_url: str
    key: str
    has_key: bool

    def words(self, trouble: Trouble, said: str, since_s: float | None, patience: str, worked: bool) -> str:
        """Return the message.

        Args:
            trouble: what came last; said: its message, clean.
            since_s: of the silence, in seconds since the epoch; None: there was none.
            patience: how long it was borne, and which option says so: `30s (start_patience_s)`.
            worked: was anything answered in this session?
        """
        if not trouble.says_all:
            said = f"{self._what(trouble, since_s, patience, worked)}: {said}"
        if not worked and trouble.action in (Action.UNSENT, Action.RETRY):
            said += ". Is the address right, and the server running?"
        return f"model {self.model!r}: {said}{'' if said.endswith('?') else '.'} {AGAIN}"

    def _what(self, trouble: Trouble, since_s: float | None, patience: str, worked: bool) -> str:
        since = f" since {at(since_s)}" if worked and since_s is not None else ""
        if trouble.code == "insufficient_quota":
            return f"nothing is left to spend on the key in {self.key}; pay first. The endpoint says"
        if trouble.action is Action.DENIED:
            return f"{self._denied(trouble)}{since}; the endpoint says"
        if trouble.action is Action.REFUSED:
            return f"base_url {self.base_url} refuses every request{since or ' so far'}: given up after {patience}"
        if worked:
            return f"base_url {self.base_url} does not answer{since}: given up after {patience}"
        return f"base_url {self.base_url} has not answered at all, in {patience}"

    def _denied(self, trouble: Trouble) -> str:
        if trouble.code == "blocked":
            if self.has_key:
                return f"every request is refused with the key in {self.key}"
            return f"every request is refused, and no key is in use: {self.key} is not set"
        return f"no model {self.ref!r}, or no chat completions, under base_url {self.base_url}"
