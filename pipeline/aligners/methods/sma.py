"""`sma`: sets of views and captions are aligned by submodular mutual information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from structure.pipeline.aligners.aligner_method import Inputs
from structure.pipeline.aligners.heads.head_spec import HeadSpec
from structure.pipeline.aligners.losses.choices import Information
from structure.pipeline.aligners.option_groups import GradientOptions, SpaceOptions
from structure.pipeline.aligners.options import Idle, option
from structure.pipeline.aligners.sequence_method import SequenceMethod

if TYPE_CHECKING:
    from structure.pipeline.aligners.heads.head import Head
    from structure.pipeline.aligners.objective import Objective


@dataclass(frozen=True, kw_only=True)
class SmaOptions(SpaceOptions, GradientOptions):
    """Of the set alignment loss, which is the only one."""

    information: Information = option("flqmi", "Submodular mutual information of views and captions.")
    eta: float = option(1.0, "Balance of the information.", above=0)
    sharpness: float = option(50.0, "Of its smooth maxima; 0: true maxima.", least=0)
    mu: float = option(0.1, "Weight of the divergence between both sets.", least=0)
    ridge: float = option(0.1, "Of log-determinants (logdetmi).", least=0)
    views: int | None = option(None, "Views of a sample that take part; none: all that are stored.", above=0)
    captions: int | None = option(None, "Captions of a sample that take part; none: all that are stored.", above=0)

    @property
    def idle(self) -> Idle:
        unused: Idle = {"ridge": ("information", "logdetmi")} if self.information != "logdetmi" else {}
        if self.information == "gcmi":  # normalised by its largest value, in which eta is a factor too
            unused["eta"] = ("information", "flqmi")
        return super().idle | unused


class Sma(SequenceMethod[SmaOptions]):
    """A linear head on every view and every caption, under `losses.set_alignment`."""

    about = "Sets of views and captions of a sample, aligned by submodular mutual information; trained without R_S."
    options_class = SmaOptions

    def reads(self, options: SmaOptions) -> Inputs:
        return "sets"

    def most_vectors(self, options: SmaOptions) -> tuple[int | None, int | None]:
        return options.views, options.captions

    def dim(self, options: SmaOptions, *, widths: tuple[int, int], pairs: int) -> int:
        return options.dim

    def heads(self, options: SmaOptions, *, widths: tuple[int, int], prefix: int) -> tuple[HeadSpec, HeadSpec]:
        head = HeadSpec("linear", options.dim)
        return head, head

    def objective(self, vision: Head, text: Head, options: SmaOptions) -> Objective:
        from structure.pipeline.aligners.sequence_objective import SetObjective

        alignment = {
            "kind": options.information,
            "eta": options.eta,
            "temperature": options.temperature,
            "sharpness": options.sharpness or None,
            "divergence": options.mu,
            "ridge": options.ridge,
        }
        return SetObjective(vision, text, options, alignment=alignment)
