"""Options that several methods share, in groups: the options class of a method inherits those that it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from structure.pipeline.aligners.losses.choices import Centring, Divergence, Similarity, Weighting
from structure.pipeline.aligners.options import Idle, TrainingOptions, option

R_S = ("regulariser", "structure")
"""What an option of R_S hangs on, as `TrainingOptions.idle` tells it."""


@dataclass(frozen=True, kw_only=True)
class PlainOptions(TrainingOptions):
    """Of methods that have nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class SpaceOptions(TrainingOptions):
    """Of methods that choose the width of the shared space."""

    dim: int = option(512, "Width of the shared space.", above=0)


@dataclass(frozen=True, kw_only=True)
class BatchOptions(TrainingOptions):
    """Of methods that take the pairs in batches."""

    batch: int = option(4096, "Pairs in a batch.", above=0)


@dataclass(frozen=True, kw_only=True)
class MixOptions(BatchOptions):
    """Of methods whose batches can be mixed: one vector a sample."""

    mix: float | None = option(
        None,
        "FuseMix: alpha of the Beta draw that mixes each row with a partner's, the same in both modalities.",
        above=0,
    )


@dataclass(frozen=True, kw_only=True)
class GradientOptions(BatchOptions):
    """Of methods that train by gradient descent."""

    temperature: float = option(0.05, "Of the contrastive softmax, and of the softmax in R_S.", above=0)
    epochs: int = option(300, "At most this many.", above=0)
    patience: int = option(
        60, "Epochs without a better value of the selection rule before the run stops; the best weights stay.", above=0
    )
    selection: Literal["contrastive", "retrieval", "loss"] = option(
        "contrastive",
        "What picks the epoch on held-out pairs: the contrastive part (InfoNCE, for the sigmoid loss too), their "
        "retrieval, or the whole loss.",
    )
    learning_rate: float | None = option(
        None, "None runs the learning-rate range test first. Give it to compare runs at one rate.", above=0
    )
    # A few dozen pairs are learnt by heart at a rate that hardly moves the heads from their random start, and the
    # test, which sees no other pairs, takes that for good (see docs/aligners.md).
    least_rate: float = option(1e-3, "What the learning-rate range test chooses at least.", above=0)
    range_test: Literal["one_batch", "released"] = option(
        "one_batch",
        "The learning-rate range test on one batch with smoothed losses, or as the released code runs it: a fresh "
        "batch each step, raw losses, at least 1e-6.",
    )
    cosine: Literal["run", "published"] = option(
        "run",
        "The rate falls to 0 over the whole run, or with the published period of 50 max(floor(n / batch), 1) steps.",
    )
    weight_decay: float = option(1e-4, "Of AdamW.", least=0)
    clip: float = option(1.0, "Largest norm of a step's gradients.", above=0)
    clip_scope: Literal["global", "tensor"] = option("global", "That norm is of all tensors together, or of each.")
    precision: Literal["fp32", "bf16"] = option("fp32", "Of the heads' products; bf16 casts them, never a loss.")

    @property
    def idle(self) -> Idle:
        if self.learning_rate is not None:
            return super().idle | dict.fromkeys(("least_rate", "range_test"), ("learning_rate", None))
        released = self.range_test == "released"
        return super().idle | ({"least_rate": ("range_test", "one_batch")} if released else {})


@dataclass(frozen=True, kw_only=True)
class ContrastiveOptions(GradientOptions):
    """Of methods with a contrastive loss over embeddings, one a sample and side."""

    loss: Literal["info_nce", "sigmoid"] = option("info_nce", "The contrastive loss.")
    scale: float = option(20.0, "Of the sigmoid loss.", above=0)
    bias: float = option(-10.0, "Of the sigmoid loss.", least=-1000, most=1000)
    learnable_scale: bool = option(
        False, "Train the temperature (or the sigmoid loss's scale and bias) with the heads."
    )

    @property
    def idle(self) -> Idle:
        if self.loss == "sigmoid":
            return super().idle | {"temperature": ("loss", "info_nce")}
        return super().idle | dict.fromkeys(("scale", "bias"), ("loss", "sigmoid"))


@dataclass(frozen=True, kw_only=True)
class StructureOptions(BatchOptions):
    """The regulariser R_S (arXiv 2506.16895), of methods that see one frozen vector a sample."""

    regulariser: Literal["structure", "none"] = option("structure", "structure (R_S) or none.")
    weight: float = option(10.0, "Weight of R_S.", least=0)
    levels: int = option(1, "Levels, as matrix powers.", above=0)
    divergence: Divergence = option("js", "js (the paper's) or released.")
    weighting: Weighting = option("inverse", "Of the levels: 1 / level, or all the same.")
    centring: Centring = option("mean", "Of the rows before their similarities: mean, none or standard.")
    centre_first: bool = option(False, "Centre before the rows are normalised.")
    similarity: Similarity = option("cosine", "cosine, rbf or spearman (no gradient).")
    gamma: float = option(1.0, "Of the similarity rbf.", above=0)
    margin: float = option(0.0, "Subtracted from R_S of each level, floor 0.", least=0)
    extras: Literal["append", "replace"] = option("append", "Unpaired rows join each batch of R_S, or take its place.")
    extra_rows: int | None = option(None, "Unpaired rows a batch; none: as many as it has pairs.", above=0)

    @property
    def uses_structure(self) -> bool:
        return self.regulariser == "structure"

    @property
    def idle(self) -> Idle:
        if not self.uses_structure:
            own = (name for name in StructureOptions.__annotations__ if name != "regulariser")
            return super().idle | dict.fromkeys(own, R_S)
        idle = dict(super().idle)
        if self.similarity != "rbf":
            idle["gamma"] = ("similarity", "rbf")
        if self.levels == 1:
            idle["weighting"] = ("levels", 2)
        if self.centring == "none":
            idle["centre_first"] = ("centring", "mean")
        return idle


@dataclass(frozen=True, kw_only=True)
class PairOptions(SpaceOptions, ContrastiveOptions, StructureOptions, MixOptions):
    """Of heads over one vector a sample, trained with a contrastive loss and R_S."""

    weight_vision: float | None = option(None, "Weight of the vision side's R_S; none: `weight`.", least=0)
    weight_text: float | None = option(None, "Weight of the text side's R_S; none: `weight`.", least=0)
    rs_temperature: float | None = option(None, "Of the softmax in R_S; none: `temperature`.", above=0)
    rs_affinity: Literal["softmax", "perplexity"] = option(
        "softmax",
        "Neighbourhoods of R_S: softmax at one temperature (the paper's), or without the sample itself and at the "
        "temperature of one perplexity (a variant of this program).",
    )
    perplexity: float = option(10.0, "Effective neighbours of rs_affinity=perplexity.", above=1)
    combine: Literal["sum", "mean"] = option("sum", "Both sides' R_S are summed (paper) or averaged (released code).")
    # 0: a run of few pairs is at its best after a dozen steps, and would be chosen with a fraction of the weight.
    warm_up: float = option(
        0.0, "Share of the run over which the weight of R_S rises to its full value.", least=0, most=1
    )
    warm_up_steps: int | None = option(None, "The same counted in steps, in place of `warm_up`.", least=0)

    @property
    def idle(self) -> Idle:
        if not self.uses_structure:
            own = (name for name in PairOptions.__annotations__)
            return super().idle | dict.fromkeys(own, R_S)
        idle: dict[str, tuple[str, Any]] = dict(super().idle)
        if self.rs_temperature is None:
            idle.pop("temperature", None)  # R_S has it too
        if self.rs_affinity == "softmax":
            idle["perplexity"] = ("rs_affinity", "perplexity")
        else:
            one_temperature = ("rs_temperature", "levels", "weighting", "divergence", "margin")
            idle |= dict.fromkeys(one_temperature, ("rs_affinity", "softmax"))
        if self.weight == 0:
            idle |= dict.fromkeys(("weight_vision", "weight_text"), ("weight", 10.0))
        return idle if self.warm_up_steps is None else idle | {"warm_up": ("warm_up_steps", None)}

    @property
    def side_weights(self) -> tuple[float, float]:
        """Full weight of R_S of the vision and of the text side."""
        given = (self.weight_vision, self.weight_text)
        vision, text = (self.weight if one is None or not self.weight else one for one in given)
        return vision, text


@dataclass(frozen=True, kw_only=True)
class HiddenOptions(PairOptions):
    """The same for heads with an inner layer."""

    hidden: int | None = option(None, "Inner width of the heads; none: twice `dim`.", above=0)
