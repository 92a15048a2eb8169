"""Flips: one bit of one stored object is another, and somebody reads the run."""

from __future__ import annotations

from collections.abc import Iterable

import raygen
from raygen.errors import CorruptDataError
from tests.exactly_once.mutants import flipped
from tests.exactly_once.places import Place


def unnoticed_flips(place: Place, keys: Iterable[str], times: int) -> list[str]:
    """Flip each object in turn, `times` times, and read the run; what was not reported as corrupt comes back."""
    unnoticed = []
    for key in keys:
        whole = place.objects()[key]
        for seed in range(times):
            place.fill({key: flipped(whole, seed)})
            try:
                raygen.open_run(place.uri, place.storage).to_arrow()
                unnoticed.append(f"unnoticed: a flipped bit in {key} was read in silence")
            except CorruptDataError:
                pass
            except Exception as error:  # noqa: BLE001
                unnoticed.append(f"unnoticed: a flipped bit in {key} looked like {type(error).__name__}")
        place.fill({key: whole})
    return unnoticed
