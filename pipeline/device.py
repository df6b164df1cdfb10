"""Which device computes: `auto` takes the GPU where there is one, and a named GPU must exist."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from structure.store.errors import StructureError

ONE_THREAD_BATCH = 512
"""Up to this many rows in a batch, one thread trains: more threads gain little there, and on a machine that others
use too they lose a lot (measured: 26 ms an epoch of 1,000 pairs at batch 256 with one thread, 380 ms with two on two
busy cores), since every small operation waits for the slowest."""


def resolve_device(device: str) -> str:
    """`auto` -> `cuda:0` or `cpu`; a CUDA device that is not there is an error, not a fall back to the CPU."""
    import torch

    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise StructureError(f"{device!r} is not a device. Use auto, cpu, cuda or cuda:0.") from None
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise StructureError(
            f"--device {device} was asked for and {torch.cuda.device_count()} CUDA devices are visible. "
            "Pass --device auto or --device cpu."
        )
    return str(wanted)


@contextmanager
def threads_for(batch: int) -> Iterator[None]:
    """One processor thread for small batches; the setting is restored afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if batch <= ONE_THREAD_BATCH else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
