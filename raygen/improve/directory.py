"""Directory: what a self-improvement keeps at the top of its own, beside its rounds' runs and trainings."""

from __future__ import annotations

from raygen.errors import UserError
from raygen.storage import Store

COURSE_KEY = "course.json"  # sealed: whose directory it is
FIGURES_KEY = "report.json"


def refuse_course(store: Store) -> None:
    """Refuse a self-improvement's directory where a run's or a training's is wanted. Raises UserError."""
    if store.exists(COURSE_KEY):
        raise UserError(
            f"{store.uri}: a self-improvement, no run: its runs and trainings are in round-0, round-1, ...; "
            f"its figures, once all are finished, in {FIGURES_KEY}"
        )
