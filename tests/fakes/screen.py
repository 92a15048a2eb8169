"""A display that keeps what it is to show."""

from __future__ import annotations

from raygen.pipeline.monitor import Progress


class Screen:
    def __init__(self) -> None:
        self.shown: list[Progress] = []

    def update(self, progress: Progress) -> None:
        self.shown.append(progress)

    def say(self, line: str) -> None: ...

    def close(self) -> None: ...
