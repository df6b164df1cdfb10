"""Every kind of head by its name, as files keep it."""

from __future__ import annotations

from typing import Any

from structure.pipeline.aligners.heads.closed_heads import IdentityHead, KernelHead, RelativeHead, WeightedHead
from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.heads.token_heads import AnchorHead, TokenHead
from structure.pipeline.aligners.heads.vector_heads import GatedHead, LinearHead, LowRankHead, MlpHead
from structure.store.errors import StructureError, unknown

HEADS: dict[str, type[Head]] = {
    head.kind: head
    for head in (
        LinearHead,
        MlpHead,
        LowRankHead,
        GatedHead,
        IdentityHead,
        RelativeHead,
        KernelHead,
        WeightedHead,
        AnchorHead,
        TokenHead,
    )
}


def make_head(kind: str, width: int, dim: int, **settings: Any) -> Head:
    """An empty head. Raises StructureError for an unknown kind or settings it does not take."""
    if kind not in HEADS:
        raise unknown("head", kind, HEADS)
    try:
        return HEADS[kind](width, dim, **settings)
    except TypeError as error:
        raise StructureError(f"A {kind} head does not take {settings}: {error}.") from error
