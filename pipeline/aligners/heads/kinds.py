"""Every kind of head by its name, as files keep it; other packages add theirs under `structure.heads`."""

from __future__ import annotations

from typing import Any

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.registry import Registry
from structure.store.errors import StructureError

_HEADS = "structure.pipeline.aligners.heads"

HEADS: Registry[type[Head]] = Registry(
    "head",
    "structure.heads",
    {
        "linear": f"{_HEADS}.vector_heads:LinearHead",
        "mlp": f"{_HEADS}.vector_heads:MlpHead",
        "lowrank": f"{_HEADS}.vector_heads:LowRankHead",
        "gated": f"{_HEADS}.vector_heads:GatedHead",
        "identity": f"{_HEADS}.closed_heads:IdentityHead",
        "relative": f"{_HEADS}.closed_heads:RelativeHead",
        "kernel": f"{_HEADS}.closed_heads:KernelHead",
        "weighted": f"{_HEADS}.closed_heads:WeightedHead",
        "concat": f"{_HEADS}.concat_head:ConcatHead",
        "anchors": f"{_HEADS}.token_heads:AnchorHead",
        "tokens": f"{_HEADS}.token_heads:TokenHead",
    },
)


def make_head(kind: str, width: int, dim: int, **settings: Any) -> Head:
    """An empty head. Raises StructureError for an unknown kind or settings it does not take."""
    head = HEADS[kind]
    try:
        return head(width, dim, **settings)
    except TypeError as error:
        raise StructureError(f"A {kind} head does not take {settings}: {error}.") from error
