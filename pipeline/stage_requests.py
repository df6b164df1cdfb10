"""What a stage is asked to do, as values. Names and numbers are checked when a request is built, without torch."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from structure.pipeline.aligners.aligner_method import Inputs, method
from structure.pipeline.aligners.option_effects import (
    require_effect,
    require_no_need_of_pairs,
    require_unpaired,
    require_use_of_unpaired,
)
from structure.pipeline.aligners.options import TrainingOptions, renamed
from structure.pipeline.datasets.loading import find_kind
from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.encoders.pooling import POOLINGS
from structure.pipeline.model_selection.options import SELECTION_OPTIONS, SelectionOptions, weight_selection
from structure.pipeline.pairing.given_splits import require_undivided
from structure.pipeline.pairing.layer_choice import pick_layers
from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.ranking.options import Count, Permute, Preset, RankingOptions
from structure.pipeline.suites.own_labels import OwnLabels
from structure.pipeline.suites.prompt_set import PromptSet, load_prompt_set
from structure.pipeline.suites.suite import Suite, load_suite
from structure.store import FeatureSet, Store
from structure.store.errors import StructureError, UsageError, unknown
from structure.store.files import plain_name

if TYPE_CHECKING:
    from structure.pipeline.encoders.precision import Amp
    from structure.pipeline.extraction.options import Dtype
    from structure.pipeline.extraction.shard_tasks import MapFunction
    from structure.pipeline.pairing.layer_cache import LayerCache
    from structure.pipeline.similarity.knn.neighbour_tables import Compute

DTYPES = ("auto", "fp16", "fp32")
AMPS = ("auto", "bf16", "fp16", "off")
ON_BAD_SAMPLE = ("skip", "fail")
BETWEEN = ("vision-text", "vision-vision", "text-text")
LONGEST_NAME = 200
"""Letters of a name: file systems allow 255 bytes, and files are written under a longer name first."""
SEARCH_MEMORY = 2**30
"""Bytes that a neighbour search may hold."""

Chosen = tuple[Inputs, tuple[FeatureSet, FeatureSet], tuple[str, str, str]]
"""What an item is, the two feature sets, and their layers with how these were chosen."""


@dataclass(frozen=True)
class ExtractRequest:
    """Extract features of one or several encoders; one feature set each, `<dataset>/<split>/<encoder>` in the store.

    `models` and `dataset` are named as on the command line. `layers` are globs over layer names, `tokens` over those
    whose tokens are stored besides; `pool` lists cls, mean, last, max (the encoder's own by default). `limit` takes the
    first samples alone. `batch_size`, `dtype`, `amp` are numbers or names, "auto" by default; `captions` is "first",
    "all" or a number for each sample, `views` the views of each image. `on_bad_sample`: "skip" or "fail". `append`: the
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
        require_count("--batch-size", None if self.batch_size == "auto" else self.batch_size)
        require_count("--captions", None if self.captions in ("first", "all") else self.captions)


@dataclass(frozen=True, kw_only=True)
class RankingRequest:
    """What both rankings share: which data, how to rank (`RankingOptions`), and within what to search.

    `memory` bounds the bytes of the search; `compute` runs it elsewhere (a dask cluster).
    """

    dataset: str | None = None
    split: str | None = None
    metric: str = "mutual_knn"
    preset: Preset = "structure"
    k: int | str | None = None
    samples: Count | None = None
    seed: int = 42
    calibrate: int | None = None
    repeats: int = 5
    group: str | None = None
    permute: Permute = "within"
    memory: int = SEARCH_MEMORY
    compute: Compute | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _ = self.options  # raises for an unknown metric or preset

    @property
    def options(self) -> RankingOptions:
        """How to rank."""
        own = {field.name: getattr(self, field.name) for field in fields(RankingOptions)}
        return RankingOptions(**own)


@dataclass(frozen=True, kw_only=True)
class RankRequest(RankingRequest):
    """Score all layer pairs of one vision and one text feature set; save matrix, choice and charts in the store.

    `vision` and `text` name encoders; two of one modality may be compared too. `metric` ("mutual_knn"), `preset`
    ("structure" or "platonic"), `k` (a number or a rule) and `samples` (a number for a seeded subset, or "all"), both
    the preset's by default, `seed` (42), `calibrate` (permutations of the test; the metric's own number), `repeats` (5:
    how often the choice is repeated on random subsets of each size), `group` (a column of the sample index: samples of
    one value are not independent) and `permute` (what the test exchanges of them: "within" groups, or "whole" ones),
    `memory` (bytes), `compute` (runs the search elsewhere: a dask cluster). With `forecast` the ranking ends with the
    recall to expect from more pairs, from fits to subsets of them. Raises StructureError for an unknown metric, preset
    or `permute`.
    """

    vision: str | None = None
    text: str | None = None
    forecast: bool = True


@dataclass(frozen=True, kw_only=True)
class RankModelsRequest(RankingRequest):
    """Rank the layers of every two models of one dataset split; neighbours of a model are searched once.

    `vision` and `text` narrow the models by name (all of them by default); `between` says which modalities meet, each
    two models of one modality once. The other options are those of `rank_layers`.
    """

    vision: Sequence[str] = ()
    text: Sequence[str] = ()
    between: Literal["vision-text", "vision-vision", "text-text"] = "vision-text"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("--between", self.between, BETWEEN)


@dataclass(frozen=True)
class AlignRequest:
    """Train an aligner on the pairs of a dataset split and save it below `aligners/<name>/`.

    `layers`: "auto" (the newest ranking of these two feature sets), "last" (the last block of each side), or "<vision
    layer>,<text layer>"; a side may be several layers, "block.13+pooled,block.05". `options` say how to train. `test`
    holds out that fraction of the pairs, the same for every seed, before `pairs` takes a seeded subset of the others.
    With `split_column` the data say which pairs train, which select the epoch (val) and which are the test.
    `add` names labelled data as `DATASET:K`: K samples a class, captioned with their label, join the training pairs.
    `unpaired` names feature sets of the same encoders, whose rows R_S sees and some methods match; rows with the
    content of a pair are left out. `memory` bounds the bytes that both layers may take. An aligner of that `name` that
    the same run made is taken as it is; `replace` puts the new one in the place of one of another run, whose results
    are removed. `cache` keeps layers for further runs; `checkpoint_every` is in seconds. Methods over
    tokens read those that are stored of the layers, within `memory`; `sma` reads all views and captions of a sample.
    With `auto` method, options and layers are selected on the training pairs, with `unpaired` rows from methods that
    match them too; `options` then hold the seed and the device.
    """

    layers: str = "auto"
    _: KW_ONLY
    dataset: str | None = None
    split: str | None = None
    vision: str | None = None
    text: str | None = None
    options: TrainingOptions = field(default_factory=TrainingOptions)
    pairs: int | None = None
    test: float = 0.0
    split_column: str | None = None
    add: Sequence[str] = ()
    unpaired: Sequence[str] = ()
    memory: int | None = None
    name: str | None = None
    replace: bool = False
    cache: LayerCache | None = field(default=None, compare=False)
    checkpoint_every: float = 30.0
    auto: SelectionOptions | None = None

    def __post_init__(self) -> None:
        if self.pairs == 0 and self.auto is None:
            require_no_need_of_pairs(self.options.method)
        else:
            require_count("--pairs", self.pairs)
        require_name("--name", self.name)
        if self.split_column is not None:
            selects = self.auto is not None and not self.auto.weights
            require_undivided({"--test": self.test, "--memory": self.memory, "--method auto": selects})
        if self.test and not 0 < self.test < 1:
            raise StructureError(f"--test {self.test:g} is no fraction of the pairs; it must be between 0 and 1.")
        object.__setattr__(self, "layers", re.sub(r"\s*([,+])\s*", r"\1", self.layers.strip()))
        if self.layers not in ("auto", "last") and len(self.layers.split(",")) != 2:
            raise StructureError(
                f"--layers {self.layers!r}: write auto, last, or the two layers with a comma, such as "
                "--layers block.11,block.05."
            )
        if self.auto is None:
            require_use_of_unpaired(self.options, self.unpaired)

    @classmethod
    def of(cls, layers: str = "auto", *, options: TrainingOptions | None = None, **others: Any) -> AlignRequest:
        """A request with options of the training given by name, beside or instead of `options`.

        Without `options`, `unpaired` and a `method`, or with `method="auto"`, the method is selected: then the fields
        of `SelectionOptions` are taken too, and options of the training hold for every candidate that has them.
        `weight="auto"` has the weight of R_S of a named method selected; it is the default where neither `options` nor
        a weight nor `unpaired` rows are given.
        """
        training = {name: others.pop(name) for name in list(others) if name not in cls.__dataclass_fields__}
        is_open = options is None and not others.get("unpaired")  # unpaired rows are for R_S, so for the default method
        weighs = training.get("weight") == AUTO
        if weighs:
            del training["weight"]
        if training.get("method", AUTO if is_open else "") == AUTO:
            require_unpaired(training, others.get("unpaired", ()))
            return cls(layers, **others, **selected(training))
        made = (TrainingOptions() if options is None else options).changed(**training)
        require_effect(made, training)
        is_weighed = {"weight", "weight_vision", "weight_text"} & training.keys()
        weighs = weighs or (is_open and made.uses_structure and not is_weighed)
        request = cls(layers, options=made, **others, auto=weight_selection(made) if weighs else None)
        require_unpaired(training, request.unpaired)
        return request


AUTO = "auto"
"""The name, in place of a method's, that has the method selected."""


def selects(training: Mapping[str, Any]) -> bool:
    """Whether a run with these options has its method or its weight of R_S selected."""
    return AUTO in (training.get("method"), training.get("weight"))


def published(training: Mapping[str, Any]) -> dict[str, Any]:
    """These options of a named method with the published weight of R_S where that is selected."""
    return {name: value for name, value in training.items() if (name, value) != ("weight", AUTO)}


def selected(training: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `options` and `auto` of an AlignRequest whose method is selected, from options by name."""
    fixed = {name: value for name, value in renamed(training).items() if name != "method"}
    how = {name: fixed.pop(name) for name in SELECTION_OPTIONS if name in fixed}
    common = {name: fixed.pop(name) for name in ("seed", "device") if name in fixed}
    return {"options": TrainingOptions(**common), "auto": SelectionOptions(**how, fixed=fixed)}


def requested_layers(store: Store, request: AlignRequest) -> Chosen:
    """The feature sets and layers of a request, from manifests alone. Raises StructureError for what is not there."""
    kind = method(request.options.method).reads(request.options)
    if request.add and kind != "rows":
        raise StructureError(
            f"--add joins one vector a sample; {request.options.method} reads several. Leave out --add."
        )
    sets = choose_sets(
        store,
        dataset=request.dataset,
        split=request.split,
        vision=request.vision,
        text=request.text,
        several=kind == "sets",
    )
    return kind, sets, pick_layers(store, *sets, request.layers, tokens=kind == "tokens")


@dataclass(frozen=True)
class EvaluateRequest:
    """Evaluate aligners (by name; the newest by default) on a suite and save the results below `results/<aligner>/`.

    `suite` is a name or a YAML file, or `OwnLabels`: the labels of one dataset without a suite. `datasets` takes some
    of its tasks alone, `prompts` other prompts. Datasets that are not on this machine are listed in `absent`; under
    `require_all` they are an error. `compare` names two aligners, which are evaluated too and compared sample by sample
    (with `group`, a column of the sample index, samples of one value count together); `seed` draws what is drawn.
    Raises StructureError for a suite or dataset of it that does not exist.
    """

    suite: str | OwnLabels
    _: KW_ONLY
    aligners: Sequence[str] = ()
    datasets: Sequence[str] = ()
    prompts: str | None = None
    require_all: bool = False
    compare: tuple[str, str] | None = None
    group: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.opened_suite.select(self.datasets)
        if self.prompts:
            load_prompt_set(self.prompts)
        if self.compare:
            require_two(*self.compare)
        elif self.group is not None:
            raise UsageError(f"--group {self.group} is of a comparison: it changes nothing without --compare A B.")

    @property
    def opened_suite(self) -> Suite:
        """The suite, read from its file."""
        return self.suite.suite if isinstance(self.suite, OwnLabels) else load_suite(self.suite)

    @property
    def prompt_set(self) -> PromptSet | None:
        """The prompts in place of those that the suite names; None where it keeps its own."""
        if self.prompts:
            return load_prompt_set(self.prompts)
        return self.suite.prompt_set if isinstance(self.suite, OwnLabels) else None

    @property
    def asked(self) -> str:
        """The options that ask for it, as they are typed."""
        if isinstance(self.suite, OwnLabels):
            return self.suite.asked
        prompts = f" --prompts {shlex.quote(self.prompts)}" if self.prompts else ""
        return f"--suite {shlex.quote(self.suite)}{prompts}"

    @property
    def names(self) -> list[str]:
        """The aligners that are named, those to compare among them."""
        return [*self.aligners, *(self.compare or ())]


def require_two(first: str, second: str) -> None:
    """Raises UsageError where an aligner would be compared with itself."""
    if first == second:
        raise UsageError(f"--compare {first} {second}: an aligner does not differ from itself. Name two.")


def require_globs(patterns: Sequence[str], layers: Sequence[str], *, of: str) -> None:
    """Raises StructureError for a glob that matches none of the layers."""
    for pattern in patterns:
        if not fnmatch.filter(layers, pattern):
            raise unknown("layer", pattern, list(layers), hint=f"These are the layers of {of}.")


def require_choice(option: str, value: str, known: Sequence[str]) -> None:
    """Raises StructureError with the nearest of the known words."""
    if value not in known:
        raise unknown(f"value of {option}", value, list(known))


def require_name(option: str, name: str | None) -> None:
    """Raises StructureError for what cannot be the name of something in the store."""
    if name is not None and (name[:1] in ("", ".", "-") or name != plain_name(name) or len(name) > LONGEST_NAME):
        near = plain_name(name).strip("._-")[:LONGEST_NAME] or "mine"
        raise StructureError(
            f"{option} {shown_name(name)} cannot be a name in the store: at most {LONGEST_NAME} letters, digits and "
            f". _ - + without slashes, not with . or - at the start. Write {option} {near}."
        )


def shown_name(name: str) -> str:
    """The name as a message shows it, quoted, cut where it is long."""
    return repr(name if len(name) <= 40 else f"{name[:40]}...")


def require_count(option: str, value: Any) -> None:
    """Raises StructureError for what is neither None nor a whole number from 1 on."""
    if value is not None and (not isinstance(value, int) or value < 1):
        raise StructureError(f"{option} {value} must be 1 or more.")
