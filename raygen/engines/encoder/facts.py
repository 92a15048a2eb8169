"""Facts of the encoder engine: which texts it takes, and how vectors become of them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from raygen.config.base import Frozen
from raygen.engines.facts import EngineFacts
from raygen.models.resolved import ResolvedModel
from raygen.models.text.label_files import read_labels
from raygen.models.text.sentence_files import Pooling


class EncoderFacts(EngineFacts):
    """Embedders and classifiers, by transformers' own model classes."""

    engine = "raygen.engines.encoder.engine:EncoderEngine"
    families = {"embedder": frozenset({"embed"}), "classifier": frozenset({"classify"})}
    orders_by_priority = True
    fills_cores = True
    deciding_options = frozenset({"max_tokens", "truncate", "pooling", "normalize"})

    class Options(Frozen):
        """What a job may say under `options` of a model on the encoder engine."""

        threads: int | None = Field(
            None, ge=1, le=1024, description="CPU threads; one for each core if unset"
        )
        max_batch: int = Field(512, ge=1, le=65536, description="texts computed at once")
        max_batch_tokens: int = Field(
            8192, ge=16, le=2**24, description="of texts computed at once, padding included"
        )
        max_tokens: int | None = Field(
            None,
            ge=1,
            description="of a text; unset: what the model's makers allow; never more than the model can read",
        )
        truncate: bool = Field(
            False, description="cut longer texts at max_tokens, instead of failing the row"
        )
        pooling: Pooling | None = Field(
            None, description="how token vectors become one; unset: as the model says, else their mean"
        )
        normalize: bool | None = Field(
            None, description="vectors of length 1; unset: as the model says, else no"
        )
        device: str = Field(
            "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: cuda if there is one"
        )

    @classmethod
    def labels(cls, model: ResolvedModel) -> tuple[str, ...] | None:
        if model.spec.family != "classifier" or model.path is None:
            return None
        return read_labels(Path(model.path))
