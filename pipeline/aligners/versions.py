"""Versions of what computes the weights of an aligner, without importing it."""

from __future__ import annotations

import platform
import runpy
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from structure.store.errors import StructureError


def versions() -> dict[str, str]:
    """Versions of what computed the weights."""
    return {"python": platform.python_version(), "torch": torch_version(), "numpy": np.__version__}


@cache
def torch_version() -> str:
    """`torch.__version__`, from the file where torch has it: what the registry calls this version lacks the variant
    (`2.11.0` for `2.11.0+cu130`), and with another variant the weights are others. Raises StructureError without
    torch."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise StructureError("torch is not installed. Run: pip install torch")
    return str(runpy.run_path(str(Path(spec.origin).with_name("version.py")))["__version__"])
