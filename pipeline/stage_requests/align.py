"""What the stage align is asked to do, and whether it selects the method."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from structure.pipeline.aligners.aligner_method import Inputs, method
from structure.pipeline.aligners.option_effects import (
    require_effect,
    require_no_need_of_pairs,
    require_unpaired,
    require_use_of_unpaired,
)
from structure.pipeline.aligners.options import TrainingOptions, renamed
from structure.pipeline.model_selection.options import SELECTION_OPTIONS, SelectionOptions, weight_selection
from structure.pipeline.pairing.given_splits import require_undivided
from structure.pipeline.pairing.layer_choice import pick_layers
from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.stage_requests.checks import require_count, require_name
from structure.store import FeatureSet, Store
from structure.store.errors import StructureError

if TYPE_CHECKING:
    from structure.pipeline.pairing.layer_cache import LayerCache

Chosen = tuple[Inputs, tuple[FeatureSet, FeatureSet], tuple[str, str, str]]
"""What an item is, the two feature sets, and their layers with how these were chosen."""


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
