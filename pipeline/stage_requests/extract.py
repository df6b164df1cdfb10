"""What the stage extract is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal

from structure.pipeline.datasets.loading import find_kind
from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.encoders.frames_option import MOST_FRAMES
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.encoders.pooling import POOLINGS
from structure.pipeline.stage_requests.checks import require_choice, require_count, require_globs, require_name
from structure.store.errors import StructureError, UsageError

if TYPE_CHECKING:
    from structure.pipeline.encoders.precision import Amp
    from structure.pipeline.extraction.options import Dtype
    from structure.pipeline.extraction.shard_tasks import MapFunction

DTYPES = ("auto", "fp16", "fp32")
AMPS = ("auto", "bf16", "fp16", "off")
ON_BAD_SAMPLE = ("skip", "fail")


@dataclass(frozen=True)
class ExtractRequest:
    """Extract features of one or several encoders; one feature set each, `<dataset>/<split>/<encoder>` in the store.

    `models` and `dataset` are named as on the command line. `layers` are globs over layer names, `tokens` over those
    whose tokens are stored besides; `pool` lists cls, mean, last, max (the encoder's own by default). `limit` takes the
    first samples alone. `batch_size`, `dtype`, `amp` are numbers or names, "auto" by default; `captions` is "first",
    "all" or a number for each sample, `views` the views of each image, `frames`
    how many frames of each video the image models read. `on_bad_sample`: "skip" or "fail". `append`: the
    dataset has grown. `name`: what one model is called in the store (`--as`).
    `map_fn` runs the tasks of a run (one for each shard) elsewhere, to the same bytes.
    Raises StructureError for a name that does not exist (the nearest are offered) or a number that makes no sense.
    """

    models: Sequence[str] | str
    dataset: str
    _: KW_ONLY
    split: str | None = None
    layers: Sequence[str] = ("*",)
    tokens: Sequence[str] = ()
    pool: Sequence[str] = ()
    limit: int | None = None
    batch_size: int | Literal["auto"] = "auto"
    dtype: Dtype = "auto"
    amp: Amp = "auto"
    workers: int | None = None
    captions: int | Literal["first", "all"] = "first"
    views: int = 1
    frames: int = 1
    on_bad_sample: Literal["skip", "fail"] = "skip"
    revision: str | None = None
    append: bool = False
    name: str | None = None
    map_fn: MapFunction | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", (self.models,) if isinstance(self.models, str) else tuple(self.models))
        for model in self.models:
            parsed = parse_spec(model)
            alias = catalogue().get(parsed.alias) if parsed.alias else None
            if alias is not None:
                require_globs([*self.layers, *self.tokens], [layer.name for layer in alias.layers], of=alias.name)
        find_kind(self.dataset)
        require_name("--as", self.name)
        if self.name is not None and len(self.models) > 1:
            raise UsageError(
                f"--as {self.name} names one encoder, and there are {len(self.models)}. Extract one a run."
            )
        if not self.layers:
            raise StructureError(
                "--layers names no layer. Leave it out for all of them, or name some: --layers 'block.*'"
            )
        for name in self.pool:
            require_choice("--pool", name, tuple(POOLINGS))
        require_choice("--dtype", self.dtype, DTYPES)
        require_choice("--amp", self.amp, AMPS)
        require_choice("--on-bad-sample", self.on_bad_sample, ON_BAD_SAMPLE)
        require_count("--limit", self.limit)
        require_count("--views", self.views)
        require_count("--frames", self.frames)
        if self.frames > MOST_FRAMES:
            raise UsageError(f"--frames {self.frames} is more than {MOST_FRAMES}, which pass through a model at once.")
        if self.frames > 1 and self.views > 1:
            raise UsageError(
                f"--frames {self.frames} --views {self.views}: views are of images. Leave one of the two out."
            )
        require_count("--batch-size", None if self.batch_size == "auto" else self.batch_size)
        require_count("--captions", None if self.captions in ("first", "all") else self.captions)
