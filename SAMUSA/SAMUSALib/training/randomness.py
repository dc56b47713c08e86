"""Random numbers by counter: what is drawn depends on seed, step and number, not on what was
drawn before. So a run resumes without the state of a generator, any process can prepare any
sample, and the samples do not depend on how many processes share them."""

from __future__ import annotations

import numpy as np

PLAN, SAMPLE, CLICKS, DROPOUT, PHANTOM, VALIDATION = range(6)


def generator(seed: int, stream: int, *counters: int) -> np.random.Generator:
    """A generator of its own for each stream (what it is for) and counters (step, number)."""
    # a spawn key rather than one list of numbers, where [7, 0] and [7] would be the same
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, *counters)))
