"""Which device computes: `auto` takes the GPU where there is one, and a named GPU must exist."""

from __future__ import annotations

from structure.store.errors import StructureError


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
