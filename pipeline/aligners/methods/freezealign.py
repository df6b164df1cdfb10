"""`freezealign`: a light projection of all tokens, averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from structure.pipeline.aligners.aligner_method import Inputs
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import ContrastiveOptions, SpaceOptions
from structure.pipeline.aligners.options import option
from structure.pipeline.aligners.sequence_method import SequenceMethod

if TYPE_CHECKING:
    from structure.pipeline.aligners.heads.head import Head
    from structure.pipeline.aligners.objective import Objective


@dataclass(frozen=True, kw_only=True)
class FreezeAlignOptions(SpaceOptions, ContrastiveOptions):
    """Of the heads over tokens."""

    hidden: int | None = option(None, "Inner width of the heads; none: twice `dim`.", above=0)


class FreezeAlign(SequenceMethod[FreezeAlignOptions]):
    """After FreezeAlign (arXiv 2409.19425): z = mean_t g(x_t); a vision transformer's CLS token has a projection of
    its own."""

    about = "After FreezeAlign: a light projection of every token, averaged; trained without R_S."
    options_class = FreezeAlignOptions

    def reads(self, options: FreezeAlignOptions) -> Inputs:
        return "tokens"

    def dim(self, options: FreezeAlignOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return options.dim

    def heads(self, options: FreezeAlignOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        hidden = options.hidden or 2 * options.dim
        vision, text = (HeadSpec("tokens", options.dim, {"hidden": hidden, "cls": cls}) for cls in (prefix > 0, False))
        return vision, text

    def objective(self, vision: Head, text: Head, options: FreezeAlignOptions) -> Objective:
        from structure.pipeline.aligners.sequence_objective import TokenObjective

        return TokenObjective(vision, text, options)
