"""The aligners: every way to bring two frozen layers into one space, by name."""

from __future__ import annotations

from typing import Any

from structure.pipeline.registry import Registry

_METHODS = "structure.pipeline.aligners.methods"

ALIGNERS: Registry[Any] = Registry(
    "method",
    "structure.aligners",
    {
        "linear": f"{_METHODS}.linear:Linear",
        "mlp": f"{_METHODS}.mlp:Mlp",
        "lowrank": f"{_METHODS}.lowrank:LowRank",
        "gated": f"{_METHODS}.gated:Gated",
        "sail": f"{_METHODS}.sail:Sail",
        "csa": f"{_METHODS}.csa:Csa",
        "kernel-csa": f"{_METHODS}.kernel_csa:KernelCsa",
        "procrustes": f"{_METHODS}.procrustes:Procrustes",
        "ridge": f"{_METHODS}.ridge:Ridge",
        "asif": f"{_METHODS}.asif:Asif",
        "relative": f"{_METHODS}.relative:Relative",
        "mean-shift": f"{_METHODS}.mean_shift:MeanShift",
        "identity": f"{_METHODS}.identity:Identity",
        "pal": f"{_METHODS}.pal:Pal",
        "freezealign": f"{_METHODS}.freezealign:FreezeAlign",
        "sotalign": f"{_METHODS}.sotalign:Sotalign",
        "wasserstein-procrustes": f"{_METHODS}.wasserstein_procrustes:WassersteinProcrustes",
        "mini-vec2vec": f"{_METHODS}.mini_vec2vec:MiniVec2Vec",
        "sma": f"{_METHODS}.sma:Sma",
    },
)
"""Name -> class of `aligner_method.Method`. Other packages add theirs under the entry point group
`structure.aligners`; `aligner_method.method` gives the method itself."""
