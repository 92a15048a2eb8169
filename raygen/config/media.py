"""Media: how pictures and video are rendered, how text is spoken, and how sound is listened to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raygen.config.base import Frozen

Side = Annotated[int, Field(ge=1, le=16384)]  # pixels


class RenderSettings(Frozen):
    """How media are rendered. What is unset is the model's own."""

    steps: int | None = Field(None, ge=1, le=1000, description="denoising steps")
    guidance: float | None = Field(
        None, ge=0, le=100, description="how closely the prompt or label is followed; 1: no extra weight"
    )
    scheduler: str | None = Field(
        None, pattern=r"^[a-z][a-z0-9_]{0,63}$", description="how the noise falls, such as euler or ddim"
    )
    size: tuple[Side, Side] | None = Field(None, description="[width, height] in pixels")
    seconds: float | None = Field(None, gt=0, le=3600, description="length of sound or video")
    truncation: float | None = Field(
        None, gt=0, le=1, description="of a GAN: less is more typical, 1 is as varied as the model"
    )
    format: Literal["png", "webp", "jpeg", "wav", "flac", "mp4", "webm"] = Field(
        "png", description="how the bytes of a sample are encoded"
    )


class SpeakSettings(Frozen):
    """How text is spoken. What is unset is the model's own."""

    voice: str | None = Field(None, min_length=1, max_length=200, description="one of the model's voices")
    language: str | None = Field(None, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="such as en")
    speed: float = Field(1.0, ge=0.25, le=4, description="2: twice as fast")
    format: Literal["wav", "flac", "opus", "mp3"] = Field(
        "flac", description="how the bytes of a sample are encoded"
    )


class ListenSettings(Frozen):
    """How sound is turned into text."""

    language: str | None = Field(
        None, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="that is spoken; unset: detected"
    )
    timestamps: bool = Field(False, description="say when each part of the text is spoken")
