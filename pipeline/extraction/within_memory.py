"""Encoding in parts that the device's memory holds: what did not fit once is not tried again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from structure.pipeline.device import is_out_of_memory
from structure.pipeline.encoders.encoder import Encoder, LayerTokens
from structure.pipeline.encoders.pooling import Pooling
from structure.pipeline.progress import Listener, Note, silent
from structure.store.errors import StructureError

Part = tuple[slice, dict[str, torch.Tensor], dict[str, LayerTokens]]


class WithinMemory:
    """`encoder.encode_tokens` on batches of any size; `most` is the largest part that is tried, None for all of it."""

    def __init__(self, encoder: Encoder, *, on_event: Listener = silent) -> None:
        self.encoder, self.on_event = encoder, on_event
        self.most: int | None = None

    def encode(
        self,
        examples: Sequence[Any],
        *,
        pooling: Sequence[Pooling],
        layers: Sequence[str],
        tokens: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[Part]:
        """Parts of the examples with their features, in order. `tokens` maps a layer to its stored dtype.

        Where the device runs out of memory the part is halved, for this batch and all later ones, and the rows are
        encoded again. Raises StructureError where a single row does not fit.
        """
        dtypes = {layer: getattr(torch, dtype) for layer, dtype in tokens.items()}
        start = 0
        while start < len(examples):
            part = slice(start, min(start + (self.most or len(examples)), len(examples)))
            try:
                pooled, of_tokens = self.encoder.encode_tokens(examples[part], dtypes, pooling=pooling, layers=layers)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(part.stop - start)
            else:
                yield part, pooled, of_tokens
                start = part.stop
                continue
            torch.cuda.empty_cache()  # after the exception is gone, and with it the frames that hold the batch

    def _halve(self, size: int) -> None:
        if size == 1:
            raise StructureError(
                f"{self.encoder.name} does not fit the memory of its device even with one row at a time. Pass --amp "
                "bf16, choose a smaller model, or a device with more memory; what was extracted is saved."
            ) from None
        self.most = size // 2
        self.on_event(
            Note(f"{self.encoder.name}: a batch of {size} does not fit the device; going on with {self.most}.")
        )
