"""One model of timm: built small, and compared with what timm's own `forward_intermediates` and head give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from structure.pipeline.encoders.encoder import Hidden
from structure.pipeline.encoders.timm_encoder import TimmEncoder
from structure.store.errors import StructureError
from tests.encoders.architectures.comparison import Verdict, batch_faults, of_faults, order_faults, read

LARGE, MOST_PARAMETERS, A_CLASS = 12_000_000, 60_000_000, 2
SMALLER: tuple[dict[str, int], ...] = (
    {"img_size": 64, "embed_dim": 64, "depth": 2, "num_heads": 2},
    {"embed_dim": 64, "depth": 2, "num_heads": 2},
    {"img_size": 64, "depth": 2},
    {"depth": 2},
    {},
)


def names() -> Iterator[str]:
    """The smallest models of each class of timm, told apart by their norm, prefix and pooling too."""
    import timm

    kinds: dict[tuple[Any, ...], list[tuple[int, str]]] = {}
    for name in timm.list_models():
        with torch.device("meta"):
            try:
                module = timm.create_model(name)
            except Exception:  # any model of the library; check() says why
                kinds[(name,)] = [(0, name)]
                continue
        parts = [type(getattr(module, part, None)).__name__ for part in ("norm", "attn_pool")]
        kind = (type(module).__module__, type(module).__name__, getattr(module, "num_prefix_tokens", None), *parts)
        kinds.setdefault(kind, []).append((sum(part.numel() for part in module.parameters()), name))
    for found in kinds.values():
        yield from (name for _, name in sorted(found)[:A_CLASS])


def check(name: str) -> dict[str, Verdict]:
    """The verdict on the model."""
    import timm

    torch.manual_seed(0)
    try:
        with torch.device("meta"):
            large = sum(part.numel() for part in timm.create_model(name).parameters()) > LARGE
        module, options = _built(name, SMALLER if large else ({},))
    except Exception as error:  # any model of the library
        return {name: Verdict("not built", str(error)[:160])}
    size = list(timm.data.resolve_data_config({}, model=module)["input_size"])
    size[1:] = [64, 64] if "img_size" in options else size[1:]
    try:
        encoder = TimmEncoder(module, name=name, size=size, amp="off", device=torch.device("cpu"))
        pixels = list(torch.randn(2, *size))
        faults = batch_faults(encoder, pixels) + _library_faults(encoder, module, pixels[0])
    except StructureError as error:
        return {name: Verdict("refused", str(error))}
    except Exception as error:  # any model of the library
        return {name: Verdict("stopped", f"{type(error).__name__}: {str(error)[:160]}")}
    return {name: of_faults(encoder, faults)}


def _built(name: str, attempts: tuple[dict[str, int], ...]) -> tuple[Any, dict[str, int]]:
    import timm

    why: Exception = RuntimeError()
    for options in attempts:
        try:
            module = timm.create_model(name, **options).eval()
        except Exception as error:  # the model does not take these sizes
            why = error
            continue
        if sum(part.numel() for part in module.parameters()) > MOST_PARAMETERS:
            raise RuntimeError(f"more than {MOST_PARAMETERS:,} parameters")
        return module, options
    raise why


def _library_faults(encoder: TimmEncoder, module: Any, pixels: torch.Tensor) -> list[str]:
    with torch.inference_mode():
        final = module.forward_features(pixels[None])
        pooled = module.forward_head(final, pre_logits=True).flatten(1)
        _, theirs = module.forward_intermediates(pixels[None], output_fmt="NCHW", norm=False)
    seen = {layer: hidden for layer, (hidden, _) in read(encoder, [pixels]).items()}
    # The first may be the stem's convolution before its norm (GhostNet), which is no layer here.
    ours = {layer: _as_map(hidden) for layer, hidden in seen.items() if layer not in ("final_norm", "pooled")}
    faults = order_faults(ours, list(theirs), spare={0} if len(theirs) < len(ours) else set())
    if not torch.allclose(seen["pooled"].values, pooled, rtol=1e-3, atol=1e-4):
        faults.append("pooled is not timm's")
    return faults


def _as_map(hidden: Hidden) -> torch.Tensor:
    """(batch, width, height, width) of patch tokens, as timm gives them; maps as they are."""
    values = hidden.values
    if values.ndim != 3 or hidden.grid is None:
        return values
    return values[:, hidden.prefix :].transpose(1, 2).reshape(len(values), values.shape[2], *hidden.grid)
