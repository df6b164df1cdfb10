"""The arithmetic an encoder runs in: float32, or 16-bit autocast, resolved once and stated in the provenance."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from structure.store.errors import StructureError, UsageError

Amp = Literal["off", "bf16", "fp16", "auto"]
SMALL = 2_000_000
"""Below this many parameters `auto` stays in float32 on a CPU: the casts would cost what the products save."""

LARGE = 1_000_000_000
"""From this many parameters on, 16-bit arithmetic keeps 16-bit weights too: 8 billion in float32 are 32 GB."""


@dataclass(frozen=True)
class Precision:
    """`dtype` None is plain float32; `weights` says in which type the weights are held."""

    dtype: torch.dtype | None
    weights: torch.dtype = torch.float32

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context a forward pass runs in; where float32 or the weights themselves are the type none, or one that
        turns off what the program around has turned on."""
        if device.type == "meta":
            return nullcontext()
        if self.dtype is None or self.weights is self.dtype:
            around = torch.is_autocast_enabled(device.type)
            return torch.autocast(device.type, enabled=False) if around else nullcontext()
        context: AbstractContextManager[object] = torch.autocast(device.type, dtype=self.dtype)
        return context

    def place(self, module: nn.Module, device: torch.device, *, channels_last: bool = False) -> nn.Module:
        """The module in evaluation mode, without gradients, on `device`; one that was spread or rounded as it was
        read (`hf_device_map`) stays where it is."""
        module.eval().requires_grad_(False)
        if hasattr(module, "hf_device_map"):
            return module
        if channels_last:
            module.to(memory_format=torch.channels_last)
        return module.to(device)

    def __str__(self) -> str:
        if self.dtype is None:
            return "float32"
        name = str(self.dtype).removeprefix("torch.")
        return name if self.weights is self.dtype else f"float32 weights, {name} autocast"


def resolve(amp: Amp, device: torch.device, *, parameters: int = 0) -> Precision:
    """The precision for `--amp`: `auto` is bfloat16 on a CUDA device, and on a CPU that multiplies in bfloat16 for
    models of `SMALL` parameters or more; float32 elsewhere.

    Raises `UsageError` for an unknown value.
    """
    if amp not in get_args(Amp):
        raise UsageError(f"Unknown precision {amp!r}. Pass --amp {' or '.join(get_args(Amp))}.")
    if amp == "auto":
        short = device.type == "cuda" or (parameters >= SMALL and multiplies_in_bfloat16())
        amp = "bf16" if short else "off"
    if amp == "off":
        return Precision(None)
    dtype = torch.bfloat16 if amp == "bf16" else torch.float16
    return Precision(dtype, dtype if parameters >= LARGE else torch.float32)


def multiplies_in_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 products (AVX512-BF16 or AMX); without them they are slower."""
    known = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(asked is not None and bool(asked()) for asked in known)


def parameter_count(module: nn.Module) -> int:
    """How many numbers a module holds as parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def checked_device(device: str) -> torch.device:
    """A torch device that exists here. Raises `StructureError` for one that does not, `UsageError` for no device."""
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"{device!r} is not a device. Pass --device cpu, cuda:0 or auto.") from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        if (chosen.index or 0) >= count:
            raise StructureError(
                f"Device {device} was asked for, but this machine shows {count} CUDA devices. Running on the CPU "
                "instead would take many times longer without a word. Pass --device cpu if that is meant."
            )
    return chosen
