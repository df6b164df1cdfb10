"""`pal`: token-level relative representations with learnable anchors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from structure.pipeline.aligners.aligner_method import Inputs
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.option_groups import ContrastiveOptions
from structure.pipeline.aligners.options import Idle, option
from structure.pipeline.aligners.sequence_method import SequenceMethod
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.progress import Listener, silent

if TYPE_CHECKING:
    from structure.pipeline.aligners.checkpoint import Checkpoint
    from structure.pipeline.aligners.fit_result import FitResult
    from structure.pipeline.aligners.heads.head import Head
    from structure.pipeline.aligners.objective import Objective


@dataclass(frozen=True, kw_only=True)
class PalOptions(ContrastiveOptions):
    """Of PAL; the shared space is as wide as there are anchors."""

    anchors: int = option(512, "Learnable anchors of each side.", above=0)
    pool_temperature: float = option(0.03, "Of the softmax over tokens, of each anchor or of the query.", above=0)
    pooling: Literal["attention", "mean", "query", "global"] = option(
        "attention",
        "Over tokens: attention, or its controls: mean (uniform), query (one learnable query a side), global (one "
        "vector a sample).",
    )

    @property
    def idle(self) -> Idle:
        unused: Idle = {} if self.pooling in ("attention", "query") else {"pool_temperature": ("pooling", "attention")}
        return super().idle | unused


class Pal(SequenceMethod[PalOptions]):
    """PAL (arXiv 2605.16834): cosines with learnable anchors, pooled over tokens by attention."""

    about = "PAL: tokens as cosines with learnable anchors, pooled by attention; trained without R_S."
    options_class = PalOptions

    def reads(self, options: PalOptions) -> Inputs:
        return "rows" if options.pooling == "global" else "tokens"

    def dim(self, options: PalOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return options.anchors

    def heads(self, options: PalOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        settings = {"temperature": options.pool_temperature, "pooling": options.pooling}
        head = HeadSpec("anchors", options.anchors, settings)
        return head, head

    def objective(self, vision: Head, text: Head, options: PalOptions) -> Objective:
        from structure.pipeline.aligners.objective import ContrastiveObjective
        from structure.pipeline.aligners.sequence_objective import TokenObjective

        made = ContrastiveObjective if options.pooling == "global" else TokenObjective
        return made(vision, text, options)

    def fit(
        self,
        data: TrainingData,
        options: PalOptions,
        *,
        checkpoint: Checkpoint | None = None,
        on_event: Listener = silent,
    ) -> FitResult:
        if options.pooling != "global":
            return super().fit(data, options, checkpoint=checkpoint, on_event=on_event)
        from structure.pipeline.aligners.training import train

        return train(data, options, checkpoint=checkpoint, on_event=on_event)
