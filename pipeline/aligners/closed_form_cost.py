"""What a closed form costs before it is fitted: operations by formula, at the speed of this machine's own products.

Operations are those of float64 products; other work is counted as what takes as long. The factors were measured on two
cores with AVX-512 (tests/benchmarks/methods_at_scale.py): an eigendecomposition of m columns takes as long as 60 m^3
operations, a singular value decomposition 130 m^3, a row that is read, widened and centred 150 a number.
"""

from __future__ import annotations

import time

import torch

from structure.pipeline.device import cores

EIGEN, SINGULAR, READ = 60.0, 130.0, 150.0
"""Operations of decompositions, over the cube of the columns, and of a number that is read."""

SIDE, TURNS = 1024, 3
"""Columns of the product that is timed, and how often: the fastest counts."""


def speed() -> float:
    """Operations a second of a product of float64 on this machine's CPU where nothing else runs: processor seconds are
    timed, which other work lengthens less than it does wall time."""
    values = torch.ones(SIDE, SIDE, dtype=torch.float64)
    seconds = []
    for _ in range(TURNS):
        began = time.process_time()
        values @ values
        seconds.append(time.process_time() - began)
    return 2.0 * SIDE**3 * cores() / max(min(seconds), 1e-6)


def recall_operations(held: int, dim: int) -> float:
    """Of embeddings (held, dim) ranked both ways: products of float32, and a comparison of every score."""
    return 2.0 * held**2 * (dim + READ / 4)
