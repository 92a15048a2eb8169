"""Hub: a model repository of the Hugging Face Hub, at one commit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars

from raygen.errors import ModelReferenceError, first_line
from raygen.models.fetch.own_code import FILES, check_code
from raygen.models.fetch.weights import MODEL_SUFFIXES, check_names, is_module_config


def find_commit(repository: str, revision: str | None, where: str) -> str:
    """Return the commit that a branch or tag (None: the main branch) points to now.

    Raises:
        ModelReferenceError: no such repository or revision, no access, no network.
    """
    return str(_info(repository, revision, where).sha)


def fetch_repository(repository: str, commit: str, target: Path, where: str) -> None:
    """Put the model files of a repository into `target`, an empty directory. Raises ModelReferenceError."""
    files = [sibling.rfilename for sibling in _info(repository, commit, where).siblings or ()]
    check_names([name for name in files if "/" not in name and not name.endswith(".gguf")], where)
    disable_progress_bars()
    wanted = [name for name in files if "/" not in name and name.endswith(MODEL_SUFFIXES)]
    wanted += filter(is_module_config, files)
    try:
        # What can be refused is refused before the weights are on their way.
        first = [name for name in wanted if name in FILES]
        snapshot_download(repository, revision=commit, local_dir=target, allow_patterns=first)
        check_code(target, where)
        snapshot_download(repository, revision=commit, local_dir=target, allow_patterns=wanted)
    except ModelReferenceError:
        raise
    except Exception as error:  # the hub's client passes on whatever its HTTP library of the day raises
        raise ModelReferenceError(f"{where}: the download failed: {first_line(error)}") from error
    shutil.rmtree(target / ".cache", ignore_errors=True)


def _info(repository: str, revision: str | None, where: str) -> Any:
    try:
        return HfApi().model_info(repository, revision=revision)
    except GatedRepoError:
        raise ModelReferenceError(
            f"{where}: it is gated: accept its terms on the hub and set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise ModelReferenceError(
            f"{where}: the hub has no such model; if it is private, set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise ModelReferenceError(f"{where}: the model has no revision {revision!r}") from None
    except Exception as error:
        raise ModelReferenceError(f"{where}: the hub does not answer: {first_line(error)}") from error
