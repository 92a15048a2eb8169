"""Seeds: fixed for ever, and another one for every argument."""

from __future__ import annotations

from raygen.steps.row.seeds import seed_of


def test_seeds_are_fixed_for_ever() -> None:
    # A changed seed would change every run that somebody wants to reproduce.
    assert seed_of(7, "p37", 0, 0, "generate") == 3522128836938693
    assert all(0 <= seed_of(s, "r", n, a, "g") < 2**53 for s in range(9) for n in range(9) for a in range(3))


def test_every_argument_changes_the_seed() -> None:
    seeds = {
        seed_of(*arguments)
        for arguments in [
            (7, "r", 0, 0, "g"),
            (8, "r", 0, 0, "g"),
            (7, "s", 0, 0, "g"),
            (7, "r", 1, 0, "g"),
            (7, "r", 0, 1, "g"),
            (7, "r", 0, 0, "h"),
            (7, "r0", 0, 0, "g"),
        ]
    }
    assert len(seeds) == 7
