"""Published settings by name. A method adds what it alone has, in its `presets`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PAPER: Mapping[str, Any] = {
    "weight": 10.0,
    "warm_up_steps": 1000,
    "cosine": "published",
    "epochs": 1000,
    "patience": 200,
    "selection": "loss",
    "range_test": "released",
    "seed": 42,
    "batch": 4096,
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "paper": _PAPER,
    "released": {**_PAPER, "divergence": "released", "combine": "mean", "clip_scope": "tensor"},
}
"""`paper` is arXiv 2506.16895 as printed, `released` what its released code does.

Both count the warm-up in steps, use the released learning-rate range test and the published cosine, train 1,000
epochs with patience 200 and select by the whole validation loss, whose weight is still moving. `released` swaps the
arguments of the divergence, averages the two sides, clips each tensor on its own and shuts the low-rank head's gate.
"""
