"""Requests and results of the verbs that make or hear media: render, speak, listen; and what every request has, a priority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raygen.config.media import ListenSettings, RenderSettings, SpeakSettings
from raygen.usage import Usage, known, total

# Priorities. What somebody waits for goes before what belongs to a batch; engines without priorities ignore them.
INTERACTIVE, BATCH = 0, 1


@dataclass(slots=True, frozen=True)
class Media:
    """A picture, a sound or a video: its bytes, encoded as `media_type` says (`image/png`, `audio/flac`)."""

    data: bytes
    media_type: str


@dataclass(slots=True)
class RenderRequest:
    """One row's request: `len(seeds)` media of one prompt, label or input, or of none (an unconditional model)."""

    row_id: str
    settings: RenderSettings
    seeds: list[int]  # each in [0, 2**53)
    prompt: str | None = None
    label: str | None = None  # a class of a model that renders by class
    media: Sequence[Media] = ()  # what it starts from, or is guided by
    adapter: str | None = None
    priority: int = INTERACTIVE


@dataclass(slots=True)
class MediaSample:
    """A picture, a sound or a video that a model made."""

    media: bytes
    media_type: str  # image/png, audio/flac, video/mp4, ...
    width: int | None = None  # pixels, of pictures and video
    height: int | None = None
    seconds: float | None = None  # of sound and video
    frames: int | None = None  # of video
    finish_reason: str = "stop"  # stop | length | content_filter

    @property
    def usage(self) -> Usage:
        """Amounts by unit: a picture is one of `images`, a sound `audio_seconds`, a video `frames`."""
        kind = self.media_type.partition("/")[0]
        if kind == "image":
            return Usage(images=1)
        return known(audio_seconds=self.seconds) if kind == "audio" else known(frames=self.frames)


@dataclass(slots=True)
class RenderResult:
    """One medium for every seed of the request, in the order of its seeds."""

    samples: list[MediaSample]
    prompt_tokens: int | None = None  # counted once, however many samples; None: not known

    @property
    def usage(self) -> Usage:
        """Amounts by unit; a unit that the engine does not know is left out."""
        return total([known(prompt_tokens=self.prompt_tokens), *(sample.usage for sample in self.samples)])


@dataclass(slots=True)
class SpeakRequest:
    """One row's request: `len(seeds)` readings of one text."""

    row_id: str
    text: str
    settings: SpeakSettings
    seeds: list[int]  # each in [0, 2**53)
    priority: int = INTERACTIVE


@dataclass(slots=True)
class SpeakResult:
    """One sound for every seed of the request, in the order of its seeds."""

    samples: list[MediaSample]

    @property
    def usage(self) -> Usage:
        """Seconds of sound."""
        return total(sample.usage for sample in self.samples)


@dataclass(slots=True)
class ListenRequest:
    """One row's request: what is said in this sound?"""

    row_id: str
    sound: Media
    settings: ListenSettings
    priority: int = INTERACTIVE


@dataclass(slots=True)
class Heard:
    """A part of a sound, and what is said there."""

    text: str
    begin_s: float  # since the sound's beginning
    end_s: float


@dataclass(slots=True)
class ListenResult:
    """What is said in a sound."""

    text: str
    seconds: float  # of the sound
    language: str | None = None  # as asked for, or detected; None: not known
    parts: list[Heard] | None = None  # in order, when timestamps are asked for
    output_tokens: int | None = None

    @property
    def usage(self) -> Usage:
        """Seconds of sound, and tokens of text where they are known."""
        return known(audio_seconds=self.seconds, output_tokens=self.output_tokens)
