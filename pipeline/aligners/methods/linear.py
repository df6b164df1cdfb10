"""`linear`: one linear map a side."""

from __future__ import annotations

from structure.pipeline.aligners.gradient_method import PairMethod
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import PairOptions


class Linear(PairMethod[PairOptions]):
    """z = W x + b on each side (arXiv 2506.16895)."""

    about = "A linear map for each side, trained with the contrastive loss and R_S."
    options_class = PairOptions

    def heads(self, options: PairOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        head = HeadSpec("linear", options.dim)
        return head, head
