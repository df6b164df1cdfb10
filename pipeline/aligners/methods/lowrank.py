"""`lowrank`: a linear map with a residual of low rank a side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from structure.pipeline.aligners.gradient_method import PairMethod
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import PairOptions
from structure.pipeline.aligners.options import option


@dataclass(frozen=True, kw_only=True)
class LowRankOptions(PairOptions):
    """Those of `linear`, and of the residual."""

    rank: int = option(64, "Inner width of the residual.", above=0)
    dropout: float = option(0.1, "In the residual.", least=0, below=1)
    gate: float = option(
        0.5, "Share of the residual at the start; 0 stays shut for ever (the released code).", least=0, below=1
    )


class LowRank(PairMethod[LowRankOptions]):
    """z = P x + sigmoid(gate) W2 dropout(gelu(W1 x)) on each side, P orthogonal at the start."""

    about = "A linear map with a gated residual of low rank for each side, trained with the contrastive loss and R_S."
    options_class = LowRankOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"released": {"gate": 0.0}}

    def heads(self, options: LowRankOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        settings = {"rank": options.rank, "dropout": options.dropout, "gate": options.gate}
        head = HeadSpec("lowrank", options.dim, settings)
        return head, head
