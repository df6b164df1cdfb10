"""`linear`: one linear map a side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.gradient_method import PairMethod
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import PairOptions

R_S: tuple[Mapping[str, Any], ...] = ({}, {"regulariser": "structure", "weight": 10.0})
"""With which regulariser it takes part in a selection: none, and the published one."""


class Linear(PairMethod[PairOptions]):
    """z = W x + b on each side (arXiv 2506.16895)."""

    about = "A linear map for each side, trained with the contrastive loss and R_S."
    options_class = PairOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return tuple({**plain, **structure} for plain in super().grid(widths=widths, pairs=pairs) for structure in R_S)

    def heads(self, options: PairOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        head = HeadSpec("linear", options.dim)
        return head, head
