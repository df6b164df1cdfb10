"""NumPy arrays out of old pickles, and nothing else: CIFAR is published as pickles, which can run any program."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from structure.store.errors import StructureError

Value = dict[str, Any]


def read_pickle(file: Path) -> Value:
    """The dictionary in `file`: strings, numbers, lists and arrays of numbers; keys as text.

    A pickle names the functions that its reader calls. Here it may name those that make a NumPy array of numbers, each
    replaced by one that does only that. Raises `StructureError` for any other name and for damaged data.
    """
    try:
        with file.open("rb") as stream:
            value = _ArraysOnly(stream, encoding="latin1").load()
    except _ForbiddenError as error:
        raise StructureError(
            f"{file} asks for {error}, which no file of numbers needs: reading it could run a program. It was not "
            "read. Get the file again from its publisher."
        ) from None
    except Exception as error:  # damaged bytes may raise anything
        raise StructureError(
            f"{file} is not the pickle that its name says ({file.stat().st_size} bytes): "
            f"{error or type(error).__name__}. Get the file again."
        ) from None
    if not isinstance(value, dict):
        raise StructureError(f"{file} holds a {type(value).__name__}, not a dictionary. Get the file again.")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): entry for key, entry in value.items()}


class _ForbiddenError(Exception):
    """A name that is none of `_NAMES`."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise _ForbiddenError(f"{module}.{name}")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _ForbiddenError("a persistent object")


def _empty_array(kind: type, shape: tuple[int, ...], code: Any) -> np.ndarray:
    """What NumPy's `_reconstruct` is called for: an array of length 0, which is filled next."""
    if kind is not np.ndarray or tuple(shape) != (0,):
        raise _ForbiddenError(f"an array of kind {kind!r} and shape {shape!r}")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _number_type(code: Any, *flags: Any) -> np.dtype:
    kind: np.dtype = np.dtype(code)
    if kind.kind not in "biuf":
        raise _ForbiddenError(f"an array of {kind}")
    return kind


def _latin1(text: Any, encoding: str = "") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _ForbiddenError(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


_NAMES: dict[tuple[str, str], type | Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _number_type,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("_codecs", "encode"): _latin1,
}
