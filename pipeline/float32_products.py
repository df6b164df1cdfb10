"""Products of float32 matrices on a CPU, by the faster of the two libraries that torch has.

torch multiplies float32 by MKL, which gives AMD processors no AVX-512. oneDNN, which comes with torch too, does: on an
EPYC with two cores (4096, 512) by (4096, 512) takes 104 CPU ms instead of 190, (4096, 1024) by itself 177 instead of
335 (tests/benchmarks/regulariser.py has what a training step gains). Both round as float32 sums do.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch

LEAST = 1 << 26
"""Multiplications of a product below which MKL, which starts sooner, is as fast."""


def by_transpose(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """a b^T (n, m) of `a` (n, k) and `b` (m, k), and `bias` (m,) added to each row, without a graph."""
    if not is_for_onednn(a, b):
        return a @ b.T if bias is None else torch.addmm(bias, a, b.T)
    # Of rows that do not lie one after the other oneDNN takes minutes.
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(a.contiguous(), b.contiguous(), bias, "none", [], "")
    return product


def is_for_onednn(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether oneDNN is the faster library for a b^T."""
    return a.dtype == torch.float32 and a.device.type == "cpu" and len(a) * b.numel() >= LEAST and _mkl_is_slow()


@cache
def _mkl_is_slow() -> bool:
    """Whether this processor has AVX-512 that MKL does not use: one of AMD."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    told = Path("/proc/cpuinfo")
    return "AuthenticAMD" in (told.read_text() if told.exists() else platform.processor())
