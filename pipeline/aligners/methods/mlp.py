"""`mlp`: two layers a side."""

from __future__ import annotations

from structure.pipeline.aligners.gradient_method import PairMethod
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import HiddenOptions


class Mlp(PairMethod[HiddenOptions]):
    """z = W2 gelu(W1 x + b1) + b2 on each side."""

    about = "Two layers with a GELU between them for each side, trained with the contrastive loss and R_S."
    options_class = HiddenOptions

    def heads(self, options: HiddenOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        head = HeadSpec("mlp", options.dim, {"hidden": options.hidden or 2 * options.dim})
        return head, head
