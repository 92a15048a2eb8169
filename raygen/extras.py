"""Extras: packages that only some uses of raygen need, and the words of their absence.

`pip install raygen` brings what a run over endpoints needs; models in this process are the extra `local`, training is `train`.
"""

from __future__ import annotations

from importlib.util import find_spec

from raygen.errors import ConfigError

LOCAL = ("torch", "transformers", "safetensors", "huggingface_hub", "gguf")
PACKAGES = {
    "local": LOCAL,
    "train": (*LOCAL, "peft", "sklearn", "tensorboardX"),
    "explain": (*LOCAL, "captum"),
    "redact": ("presidio_analyzer",),
}
INSTALL = {
    "explain": "train"
}  # by which extra of pyproject.toml they come, if not by the one of the same name


def require(extra: str, what: str) -> None:
    """Refuse what needs packages that are not installed.

    Args:
        extra: a key of `PACKAGES`.
        what: who needs them, for the error: `models.writer: engine 'torch'`.

    Raises:
        ConfigError: naming the packages, and how to install them.
    """
    missing = [package for package in PACKAGES[extra] if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"{what} needs packages that are not installed here ({', '.join(missing)}): "
            f"pip install 'raygen[{INSTALL.get(extra, extra)}]'"
        )
