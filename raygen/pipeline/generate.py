"""The generate step: a row's prompt to a model, n samples, each with a seed of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from raygen.config import Generate
from raygen.data.messages import checked_messages
from raygen.data.template import Template
from raygen.engines.base import Engine, GenerateRequest, GenerateResult
from raygen.errors import RowError


def seed_of(run_seed: int, row_id: str, sample: int, attempt: int, step: str) -> int:
    """Return the seed of one sample: 53 bits, so that it survives JSON. Depends on nothing but its arguments."""
    text = f"{run_seed}\x00{row_id}\x00{sample}\x00{attempt}\x00{step}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 11


class GenerateStep:
    """One `generate` of a job.

    Args:
        number: its place among the steps, named in errors.
    """

    def __init__(self, config: Generate, run_seed: int, number: int) -> None:
        self.config = config
        self.name = "generate"
        self._run_seed = run_seed
        where = f"steps.{number}.generate"
        self._prompt = Template(config.prompt, f"{where}.prompt") if config.prompt is not None else None
        self._system = Template(config.system, f"{where}.system") if config.system is not None else None
        self._adapter = Template(config.adapter, f"{where}.adapter") if config.adapter else None
        self.columns: dict[str, str] = {}  # column -> the job's key that names it
        for template in (self._prompt, self._system, self._adapter):
            for column in template.columns if template else ():
                self.columns.setdefault(column, template.where if template else where)
        if config.messages is not None:
            self.columns[config.messages] = f"{where}.messages"
        for column in config.images:
            self.columns[column] = f"{where}.images"

    def request(self, row_id: str, row: Mapping[str, Any], attempt: int = 0) -> GenerateRequest:
        """Build the row's request. Raises RowError."""
        seeds = [seed_of(self._run_seed, row_id, n, attempt, self.name) for n in range(self.config.samples)]
        adapter = self._adapter.render(row).strip() or None if self._adapter is not None else None
        return GenerateRequest(row_id, self._messages(row), self.config.sampling, seeds, adapter)

    async def run(self, engine: Engine, request: GenerateRequest) -> GenerateResult:
        result = await engine.generate(request)
        if len(result.samples) != len(request.seeds):
            raise RowError(
                "bad_answer",
                f"the engine returned {len(result.samples)} samples; asked for {len(request.seeds)}",
            )
        return result

    def _messages(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._prompt is None:
            return checked_messages(row.get(self.config.messages or ""), self.config.messages)
        content: Any = self._prompt.render(row)
        if self.config.images:
            parts: list[dict[str, Any]] = [
                _image_part(row.get(column), column) for column in self.config.images
            ]
            content = [*parts, {"type": "text", "text": content}]
        messages = [{"role": "user", "content": content}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system.render(row)})
        return messages


_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def _image_part(data: Any, column: str) -> dict[str, Any]:
    if not isinstance(data, bytes):
        raise RowError("missing_value", f"column {column!r} holds no image bytes in this row")
    media_type = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if media_type is None:
        raise RowError("corrupt_media", f"column {column!r}: neither PNG, JPEG, GIF nor WebP")
    url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
