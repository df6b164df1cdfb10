"""What a library raises while a model is loaded or run, as one sentence for the user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from structure.pipeline.device import is_out_of_memory
from structure.store.errors import NotPresentError, StructureError

if TYPE_CHECKING:
    import torch

INSTALLED_AS = {"open_clip": "open_clip_torch"}
"""Packages that pip calls otherwise than an import does."""


@contextmanager
def library_errors(name: str, inputs: Mapping[str, torch.Tensor] | None = None) -> Iterator[None]:
    """Within: a library loads the model `name`, or runs it on `inputs`.

    Its exceptions become `StructureError`s with the model, the shape of each input and their first line; memory that
    does not suffice stays what it is, as it is answered with smaller batches. A package that is not installed becomes a
    `NotPresentError`.
    """
    try:
        yield
    except StructureError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise NotPresentError(
            f"{name} needs the package {package or first_line(error)}, which is not installed. Run: pip install "
            f"{INSTALLED_AS.get(package, package or 'it')}"
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        shapes = ", ".join(f"{key} {tuple(values.shape)}" for key, values in (inputs or {}).items())
        doing = f"run on {shapes}" if inputs else "loaded"
        raise StructureError(
            f"{name} cannot be {doing}: {type(error).__name__}: {first_line(error)}. If another version of its library "
            "does not help, extract features elsewhere and bring them in with `structure import`."
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, without the full stop; its type where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(". ") if text else type(error).__name__
