"""What a training run can be told, as one value; the presets are such values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from structure.store.errors import StructureError, unknown

Regulariser = Literal["structure", "none"]
Selection = Literal["contrastive", "retrieval", "loss"]
Extras = Literal["append", "replace"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "regulariser": get_args(Regulariser),
    "combine": ("sum", "mean"),
    "divergence": ("js", "released"),
    "weighting": ("inverse", "uniform"),
    "centring": ("mean", "none", "standard"),
    "similarity": ("cosine", "rbf", "spearman"),
    "extras": get_args(Extras),
    "precision": ("fp32", "bf16"),
    "loss": ("info_nce", "sigmoid"),
    "pooling": ("attention", "mean", "global"),
    "information": ("flqmi", "flvmi", "gcmi", "logdetmi"),
    "clip_scope": ("global", "tensor"),
    "cosine": ("run", "published"),
    "selection": get_args(Selection),
}
_POSITIVE = (
    "dim",
    "levels",
    "temperature",
    "gamma",
    "batch",
    "epochs",
    "patience",
    "clip",
    "rank",
    "nearest",
    "exponent",
    "anchors",
    "pool_temperature",
    "eta",
    "least_rate",
)


NAMES = {"rate": "The learning rate"}

FIXED: dict[str, dict[str, Any]] = {"sail": {"loss": "sigmoid", "learnable_scale": True}}
"""What a method consists of, whatever else is said: SAIL (arXiv 2412.04616) is the gated head with the pairwise sigmoid
loss, scale and bias learnt. R_S is no part of it, and is added unless the options say `regulariser="none"`."""


@dataclass(frozen=True)
class TrainingOptions:
    """Every choice of a run. Raises StructureError where a name is unknown or a number makes no sense."""

    method: str = "linear"
    dim: int = 512
    """Width of the shared space; methods whose width follows from the data ignore it and say so in their record."""

    regulariser: Regulariser = "structure"
    weight: float = 10.0
    combine: str = "sum"
    """The two sides' R_S are summed (paper) or averaged (released code)."""
    levels: int = 1
    temperature: float = 0.05
    """Of the softmax in R_S and of InfoNCE."""
    divergence: str = "js"
    weighting: str = "inverse"
    centring: str = "mean"
    centre_first: bool = False
    similarity: str = "cosine"
    gamma: float = 1.0
    """Of the similarity "rbf"."""
    margin: float = 0.0
    extras: Extras = "append"
    """Unpaired rows join each batch of R_S, or take its place."""
    extra_rows: int | None = None
    """How many of them a batch; None: as many as it has pairs."""
    warm_up: float = 0.0
    """Share of the run over which the regulariser's weight rises to its full value. 0: a run of few pairs is at its
    best after a dozen steps, and would be chosen with a fraction of the weight that was asked for ..."""
    warm_up_steps: int | None = None
    """... unless it is counted in steps, as in the presets: then a short run never sees the full weight."""

    loss: str = "info_nce"
    scale: float = 20.0
    bias: float = -10.0
    """Of the sigmoid loss."""
    learnable_scale: bool = False
    """Train the temperature (or the sigmoid loss's scale and bias) with the heads."""
    mix: float | None = None
    """FuseMix: alpha of the Beta draw that mixes each row with a partner's, the same in both modalities."""

    batch: int = 4096
    epochs: int = 300
    patience: int = 60
    """Epochs without improvement of the selection criterion before the run stops; the best weights are kept."""
    selection: Selection = "contrastive"
    """By the contrastive part on held-out pairs (InfoNCE, for the sigmoid loss too), their retrieval, or the loss."""
    validation: float = 0.1
    """Share of the pairs held out to select the epoch, where no validation pairs are given."""
    refit: bool = False
    """Train once more on all pairs, the held-out ones too, for as many epochs as the selection kept."""
    seed: int = 42

    rate: float | None = None
    """Learning rate; None runs the learning-rate test first. Give it to compare runs at one rate."""
    least_rate: float = 1e-3
    """What the test chooses at least. A few dozen pairs are learnt by heart at a rate that hardly moves the heads from
    their random start, and the test, which sees no other pairs, takes that for good (see docs/aligners.md)."""
    cosine: str = "run"
    """The rate falls to 0 over the whole run, or with the published period of 50 max(floor(n / 4096), 1) steps."""
    weight_decay: float = 1e-4
    clip: float = 1.0
    clip_scope: str = "global"
    precision: str = "fp32"
    """Of the heads' products; "bf16" casts them, never a loss."""

    hidden: int | None = None
    """Inner width of `mlp`, `gated` and `sail`; None: twice `dim`, for `sail` eight times the layer's width."""
    rank: int = 64
    dropout: float = 0.1
    gate: float = 0.5
    """Of `lowrank`; a gate of 0 stays shut for ever (the released configuration)."""

    ridge: float | None = None
    """Of the closed forms, as a share of the mean variance; None: both widths over the pairs (at most 1) for `csa`, 1
    for `kernel-csa`, 0.1 for `ridge` and for `sma` with log-determinants."""
    weighted: bool = False
    """`csa`: score by the correlation-weighted similarity instead of the cosine."""
    nearest: int = 800
    exponent: int = 8
    """Of `asif`."""
    anchors: int = 512
    """Random training pairs that `relative` uses as anchors; learnable anchors of each side of `pal`."""

    pool_temperature: float = 0.03
    pooling: str = "attention"
    """Of `pal`: each anchor's softmax over tokens; "mean" and "global" (one vector an item) are its ablations."""

    information: str = "flqmi"
    """Of `sma`: the submodular mutual information of views and captions (flqmi, flvmi, gcmi, logdetmi) ..."""
    eta: float = 1.0
    """... its balance, ..."""
    sharpness: float = 50.0
    """... how sharp its smooth maxima are (0: true maxima), ..."""
    mu: float = 0.1
    """... the weight of the divergence between both sets, ..."""
    views: int | None = None
    captions: int | None = None
    """... and how many views and captions of an item take part; None: all that are stored."""

    device: str = "auto"

    def __post_init__(self) -> None:
        for field, known in _CHOICES.items():
            if getattr(self, field) not in known:
                raise unknown(field, str(getattr(self, field)), known)
        for field in _POSITIVE:
            if not getattr(self, field) > 0:
                raise StructureError(f"{field} is {getattr(self, field)}; it must be above 0.")
        if not 0 < self.validation < 1:
            raise StructureError(f"validation is {self.validation}; it is a share of the pairs between 0 and 1.")
        for field in ("sharpness", "mu"):
            if getattr(self, field) < 0:
                raise StructureError(f"{field} is {getattr(self, field)}; it must not be below 0.")
        for field in ("rate", "mix", "hidden", "extra_rows", "views", "captions"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise StructureError(f"{NAMES.get(field, field)} is {value}; it must be above 0.")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainingOptions:
        """`default`; `paper` (arXiv 2506.16895 as printed) or `released` (what its released code does), with changes.

        Both presets count the warm-up in steps, use the published cosine and the published floor of the learning rate,
        train 1,000 epochs with patience 200 and select by the whole validation loss, whose weight is still moving.
        `released` swaps the arguments of the divergence, averages the two sides, clips each tensor on its own and shuts
        the low-rank head's gate.
        """
        if name not in PRESETS:
            raise unknown("preset", name, PRESETS)
        if changes.get("method") == "csa" and name != "default":
            changes.setdefault("ridge", 0.0)  # published as plain CCA
        return replace(PRESETS[name], **changes)

    @classmethod
    def parse(cls, field: str, text: str) -> Any:
        """The value of a field that a text such as `10`, `true`, `rbf` or `none` means.

        Raises StructureError for a field that is not there, and for a text that is no value of its type.
        """
        hints = get_type_hints(cls)
        if field not in hints:
            raise unknown("training option", field, hints)
        wanted = list(get_args(hints[field]) or (hints[field],))
        if type(None) in wanted and text.lower() == "none":
            return None
        if bool in wanted and text.lower() in ("true", "false"):
            return text.lower() == "true"
        for kind in (int, float):
            if kind in wanted:
                try:
                    return kind(text)
                except ValueError:
                    break
        if str in wanted or get_origin(hints[field]) is Literal:
            return text
        names = ", ".join("none" if kind is type(None) else kind.__name__ for kind in wanted)
        raise StructureError(f"{field}={text!r}: {field} takes {names}.")

    def record(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


_PAPER = TrainingOptions(
    warm_up_steps=1000,
    cosine="published",
    epochs=1000,
    patience=200,
    selection="loss",
    least_rate=1e-6,
    seed=42,
    batch=4096,
)
PRESETS: dict[str, TrainingOptions] = {
    "default": TrainingOptions(),
    "paper": _PAPER,
    "released": replace(_PAPER, divergence="released", combine="mean", clip_scope="tensor", gate=0.0),
}
