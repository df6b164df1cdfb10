"""Device placement and quantization of a large model's weights, where its name asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure.pipeline.device import free_memory
from structure.store.errors import StructureError, UsageError

if TYPE_CHECKING:
    import torch

PLACEMENT_OPTIONS = ("bits", "device_map")
DEVICE_MAPS = ("auto", "balanced", "sequential", "disk")


@dataclass(frozen=True)
class Placement:
    """`bits`: 8 or 4 for weights quantized by bitsandbytes as they are read, 0 for the checkpoint's own. `device_map`:
    how accelerate spreads the blocks over GPUs, then memory, then disk; "" for one device that holds all."""

    bits: int = 0
    device_map: str = ""

    def __str__(self) -> str:
        options = [("bits", self.bits), ("device_map", self.device_map)]
        return "&".join(f"{name}={value}" for name, value in options if value)

    def __bool__(self) -> bool:
        return self != WHOLE

    @property
    def suffix(self) -> str:
        """What tells features of quantized weights apart in a name: `-4bit`. Where weights lie changes nothing."""
        return f"-{self.bits}bit" if self.bits else ""

    def arguments(self, device: torch.device, compute: torch.dtype) -> dict[str, Any]:
        """What `from_pretrained` takes besides. `compute`: the type that products of 4-bit weights are made in.

        Raises StructureError where a package or, for fewer bits, a GPU is missing.
        """
        if not self:
            return {}
        if self.bits and device.type != "cuda":
            raise StructureError(
                f"?bits={self.bits} needs a CUDA GPU (bitsandbytes multiplies there), and this run computes on "
                f"{device}. Unquantized, the weights may be placed in memory and on disk: ?device_map=auto."
            )
        needed = ("accelerate", "bitsandbytes") if self.bits else ("accelerate",)
        lacking = [name for name in needed if find_spec(name) is None]
        if lacking:
            raise StructureError(
                f"?{self} needs the package {' and '.join(lacking)}: "
                f'pip install "structure-align[{"quantized" if self.bits else "large"}]"'
            )
        whole = {"": self.device_map or str(device)}
        arguments: dict[str, Any] = {"device_map": whole if self.device_map in ("", "disk") else self.device_map}
        if self.bits:
            import transformers

            quantized = (
                {"load_in_8bit": True} if self.bits == 8 else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
            )
            arguments["quantization_config"] = transformers.BitsAndBytesConfig(
                **quantized, bnb_4bit_compute_dtype=compute
            )
        return arguments


WHOLE = Placement()


def read_placement(options: Mapping[str, str], *, spec: str) -> Placement:
    """`{"bits": "4", "device_map": "auto"}` as a `Placement`. Raises UsageError for another value."""
    bits, device_map = options.get("bits", "0"), options.get("device_map", "")
    if bits not in ("0", "4", "8") or ("bits" in options and bits == "0"):
        raise UsageError(
            f"{spec!r}: bits is {bits!r}; weights can be quantized to 8 or 4. Leave it out for full precision."
        )
    if "device_map" in options and device_map not in DEVICE_MAPS:
        raise UsageError(f"{spec!r}: device_map is {device_map!r}; it is one of {', '.join(DEVICE_MAPS)}.")
    return Placement(int(bits), device_map)


def require_memory(weights: Path, device: torch.device, *, name: str) -> None:
    """Refuse weights whose files alone are larger than the free memory of the device: the system would kill the
    process without a word, or the GPU's allocator stop half-way."""
    files = {weights}
    if weights.suffix == ".json":
        files = {weights.parent / shard for shard in json.loads(weights.read_text())["weight_map"].values()}
    needed, free = sum(file.stat().st_size for file in files), free_memory(str(device))
    if free is not None and needed > free:
        raise does_not_fit(name, device, f"its weights take {needed:,} bytes and {free:,} are free")


@contextmanager
def fitting(name: str, device: torch.device) -> Iterator[None]:
    """Within: a model that turns out too large for the device is reported as one."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        message = (str(error).splitlines() or ["no memory left"])[0]
        raise does_not_fit(name, device, message) from error


def does_not_fit(name: str, device: torch.device, why: str) -> StructureError:
    """The answer where a model is larger than its device, and what can be done."""
    return StructureError(
        f"{name} does not fit the memory of {device}: {why}. Spread it over all devices with {name}?device_map=auto, "
        f"quantize its weights on a GPU with {name}?bits=8 or ?bits=4, or choose a smaller model or another --device."
    )
