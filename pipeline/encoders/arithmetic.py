"""The arithmetic of torch that a program can switch for everything in it, held at torch's defaults while encoding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch

_FLOAT32 = {
    "cuda.matmul": "ieee",
    "mkldnn.matmul": "ieee",
    "mkldnn.conv": "ieee",
    "mkldnn.rnn": "ieee",
    "cudnn.conv": "tf32",
    "cudnn.rnn": "tf32",
}
"""How products and convolutions of float32 are rounded, by backend: torch's defaults. `set_float32_matmul_precision`
and `torch.backends.fp32_precision` change them."""

_FLAGS = {
    "allow_bf16_reduced_precision_reduction": True,
    "allow_fp16_reduced_precision_reduction": True,
    "allow_fp16_accumulation": False,
}
"""How sums of 16-bit products are rounded on a GPU: torch's defaults."""


@contextmanager
def default_arithmetic() -> Iterator[None]:
    """Within: float32 and 16-bit arithmetic are as torch sets them by default, whatever the program around chose.

    They change stored values (up to 0.006 of 3.7 under "medium" on a processor with AMX), and the fingerprint knows
    only the precision that was asked for. What was set is restored.
    """
    changed: list[tuple[Any, str, Any]] = []
    legacy = _matmul_precision()
    try:
        if legacy != "highest":  # first, as it sets two of the others
            for path in ("cuda.matmul", "mkldnn.matmul"):
                backend = attrgetter(path)(torch.backends)
                changed.append((backend, "fp32_precision", backend.fp32_precision))
            torch.set_float32_matmul_precision("highest")
        for path, default in _FLOAT32.items():
            _set(attrgetter(path)(torch.backends), "fp32_precision", default, changed)
        for flag, on in _FLAGS.items():
            _set(torch.backends.cuda.matmul, flag, on, changed)
        yield
    finally:
        if legacy != "highest":
            torch.set_float32_matmul_precision(legacy)
        for backend, name, value in reversed(changed):
            setattr(backend, name, value)


def _matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given; "highest" where a backend was set by its own name since, of which
    torch refuses to give a summary."""
    try:
        return str(torch.get_float32_matmul_precision())
    except RuntimeError:
        return "highest"


def _set(backend: Any, name: str, default: Any, changed: list[tuple[Any, str, Any]]) -> None:
    value = getattr(backend, name)
    if value == default or (value == "none" and default == "ieee"):
        return
    changed.append((backend, name, value))
    setattr(backend, name, default)
