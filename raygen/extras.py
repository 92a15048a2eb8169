"""Extras: packages that only some uses of raygen need, and the words of their absence.

`pip install raygen` brings what a run over endpoints needs; models in this process are the extra `local`, training is `train`.
"""

from __future__ import annotations

from importlib.util import find_spec

from raygen.errors import ConfigError

LOCAL = ("torch", "transformers", "huggingface_hub", "gguf")
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


def explained(error: BaseException) -> ConfigError | None:
    """Return a failed import of an extra's package as an error for people; None: it is another error."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    package = error.name.partition(".")[0]
    for extra, packages in PACKAGES.items():
        if package in packages:
            install = INSTALL.get(extra, extra)
            return ConfigError(
                f"this needs the package {package}, which is not installed: pip install 'raygen[{install}]'"
            )
    return None
