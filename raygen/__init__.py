"""raygen: distributed batch generation on Ray, with every row accounted for, exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raygen.version import __version__

if TYPE_CHECKING:
    from raygen.errors import RaygenError
    from raygen.pipeline.run import run_job
    from raygen.program.job import Job, load_job
    from raygen.runs.view import RunView, open_run

# Public names load on first use, so that `import raygen` stays fast and loads neither torch nor ray.
_PUBLIC = {
    "Job": "raygen.program.job",
    "RaygenError": "raygen.errors",
    "RunView": "raygen.runs.view",
    "load_job": "raygen.program.job",
    "open_run": "raygen.runs.view",
    "run_job": "raygen.pipeline.run",
}
__all__ = ["Job", "RaygenError", "RunView", "__version__", "load_job", "open_run", "run_job"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'raygen' has no attribute {name!r}")
