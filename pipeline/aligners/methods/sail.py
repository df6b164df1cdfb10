"""`sail`: SAIL's head and loss (arXiv 2412.04616)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from structure.pipeline.aligners.gradient_method import PairMethod
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import PairOptions
from structure.pipeline.aligners.options import option

WIDENS = 8
"""Inner width of the head over the layer's, in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class SailOptions(PairOptions):
    """Loss and learnt scale are what SAIL consists of: they have one value."""

    loss: Literal["sigmoid"] = option("sigmoid", "The pairwise sigmoid loss, as SAIL has it.")
    learnable_scale: Literal[True] = option(True, "Scale and bias of the loss are learnt, as SAIL has it.")
    hidden: int | None = option(None, "Inner width of the heads; none: eight times the layer's width.", above=0)


class Sail(PairMethod[SailOptions]):
    """R_S is no part of SAIL, and is added unless the options say `regulariser="none"`."""

    about = "SAIL: a gated linear unit with layer norm for each side, trained with the sigmoid loss, here with R_S."
    options_class = SailOptions

    def grid(self, *, widths: tuple[int, int], pairs: int) -> Sequence[Mapping[str, Any]]:
        return ()  # one fit costs more than all other candidates together

    def heads(self, options: SailOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        vision, text = (
            HeadSpec("gated", options.dim, {"hidden": options.hidden or WIDENS * width, "norm": True})
            for width in widths
        )
        return vision, text
