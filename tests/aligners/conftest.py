"""A small world of pairs: one hidden cause, seen through two noisy maps."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def world():
    """`world(rows, seed)` -> vision (rows, 24) and text (rows, 18) float32 features of the same hidden things."""

    def make(rows: int, *, seed: int = 0, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
        maps = np.random.default_rng(99)
        to_vision, to_text = maps.normal(size=(6, 24)), maps.normal(size=(6, 18))
        rng = np.random.default_rng(seed)
        cause = rng.normal(size=(rows, 6))
        vision = np.tanh(cause @ to_vision / 2) + noise * rng.normal(size=(rows, 24))
        text = np.tanh(cause @ to_text / 2) + noise * rng.normal(size=(rows, 18))
        return vision.astype(np.float32), text.astype(np.float32)

    return make
