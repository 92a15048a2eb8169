"""Find raygen's own error inside what Ray wrapped around it."""

from __future__ import annotations

from raygen.errors import RaygenError


def known_cause(error: BaseException | None) -> RaygenError | None:
    """Return the innermost raygen error that `error` stems from, or None."""
    seen: set[int] = set()
    found = None
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, RaygenError):
            found = error
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
    # Ray's own wrapper also is an instance of the class that it wraps, with a remote traceback for its text.
    return found
