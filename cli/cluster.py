"""A dask cluster for `--scheduler`, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from structure.store.errors import StructureError


@contextmanager
def compute_on(address: str | None) -> Iterator[Callable[..., Sequence[Any]] | None]:
    """A function that runs delayed tasks on the cluster at `address`; None without an address."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise StructureError('A --scheduler needs the extra: pip install "structure-align[distributed]"') from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise StructureError(f"No dask scheduler answers at {address}: {error}") from None
    with client:
        yield lambda *tasks: client.gather(client.compute(tasks))
