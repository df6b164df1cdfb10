"""`gated`: a gated linear unit a side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.gradient_method import PairMethod
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import HiddenOptions


class Gated(PairMethod[HiddenOptions]):
    """z = W3 (relu(W1 x) * W2 x) on each side."""

    about = "A gated linear unit for each side, trained with the contrastive loss and R_S."
    options_class = HiddenOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ()  # on emoji and scenes `mlp` is better at the same cost

    def heads(self, options: HiddenOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        head = HeadSpec("gated", options.dim, {"hidden": options.hidden or 2 * options.dim})
        return head, head
