"""What a weights file that is damaged, unsafe or of another model raises, turned into errors that say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

from structure.store.errors import DamageError, StructureError


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Within: weights are read from `path` into a model.

    Raises `DamageError` for bytes that are no weights file, `StructureError` for weights that only unrestricted
    unpickling could read, or that do not fit the model.
    """
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except (StructureError, torch.OutOfMemoryError):
        raise
    except (SafetensorError, EOFError) as error:
        raise DamageError(f"The weights in {path} are not readable: {error}. Fetch them again.") from error
    except (UnpicklingError, RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, UnpicklingError) or "pickle" in text:
            raise StructureError(
                f"The weights in {path} are damaged, or hold more than weights: they are not unpickled, as that could "
                "run any code. Convert them to safetensors where you trust them."
            ) from error
        raise StructureError(f"The model in {path} cannot be built: {text[:300]}") from error
