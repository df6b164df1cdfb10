"""Curves over the number of training pairs: several methods on the same nested subsets, on the same test pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.aligners.versions import versions
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.pair_curves.curve import FIGURE, FILE, FOLDER, PairCurve
from structure.pipeline.pair_curves.measuring import Measuring
from structure.pipeline.pair_curves.request import PairCurveRequest
from structure.pipeline.pair_curves.variants import CurveVariant, variants_of
from structure.pipeline.pairing.held_out_pairs import training_and_test
from structure.pipeline.pairing.layer_choice import pick_layers
from structure.pipeline.pairing.layer_pair import AlignedLayers
from structure.pipeline.pairing.pairs import PairedRows, choose_sets, pair_rows
from structure.pipeline.pairing.unpaired_rows import NoneUnpairedError, UnpairedSource, named_sets
from structure.pipeline.progress import Progress
from structure.pipeline.run_context import RunContext
from structure.pipeline.work_estimate import WorkEstimate
from structure.store.errors import StructureError
from structure.store.files import Files
from structure.store.fingerprint import fingerprint


@dataclass(frozen=True)
class CurveData:
    """Both layers, the pairs to train on and the test pairs, where unpaired rows come from, and what is measured."""

    sides: AlignedLayers
    training: PairedRows
    test: PairedRows
    source: UnpairedSource
    variants: tuple[CurveVariant, ...]

    @classmethod
    def of(cls, request: PairCurveRequest, context: RunContext) -> CurveData:
        """What is in the store. Raises StructureError for what is not, and for more pairs than there are."""
        store = context.store
        sets = choose_sets(
            store, dataset=request.dataset, split=request.split, vision=request.vision, text=request.text
        )
        vision, text, _ = pick_layers(store, *sets, request.layers)
        sides = AlignedLayers(store, (sets[0], vision), (sets[1], text), "rows")
        sides.require_complete()
        training, test = training_and_test(pair_rows(store, *sets), share=request.test)
        if max(request.pairs) > len(training):
            raise StructureError(
                f"--curve asks for {max(request.pairs):,} pairs and {sets[0].key} has {len(training):,} besides "
                f"{len(test):,} test pairs. Leave out what is more, or pass a smaller --test."
            )
        source = UnpairedSource(store, request.unpaired, sets, (vision, text))
        source.disjoint(test.items)  # a name that means nothing is told before anything is fitted
        variants = variants_of(request.methods, unpaired=bool(request.unpaired), fixed=request.fixed)
        return cls(sides, training, test, source, tuple(variants))

    def unpaired(self, chosen: PairedRows, seed: int) -> Unpaired:
        """The unpaired rows of a fit to the chosen pairs, one side of each sample; none where the pairs hold all."""
        try:
            paired = np.concatenate([chosen.items, self.test.items])
            return self.source.read(self.source.disjoint(paired, halves=seed))
        except NoneUnpairedError:
            return Unpaired()

    def cells(self, request: PairCurveRequest) -> Iterator[tuple[int, int, CurveVariant]]:
        """(seed, pairs, variant) of every fit: seed by seed, so that one that was stopped is a curve of fewer seeds."""
        for seed in request.seeds:
            for pairs in sorted({*request.pairs, len(self.training)}):
                for variant in self.variants:
                    is_asked = pairs in request.pairs or variant.use_of_unpaired == "unused"
                    if is_asked and (variant.reads_pairs or pairs == min(request.pairs)):
                        yield seed, pairs, variant

    def facts(self, request: PairCurveRequest) -> dict[str, Any]:
        """What a curve says of its data."""
        first, second = self.source.sets
        manifest = first.manifest
        return {
            "dataset": manifest.dataset,
            "split": manifest.split,
            "encoders": {"vision": manifest.encoder, "text": second.manifest.encoder},
            "layers": self.sides.names,
            "training_pairs": len(self.training),
            "test_pairs": len(self.test),
            "unpaired_features": list(request.unpaired),
            "options": dict(request.fixed),
        }

    def identity(self, request: PairCurveRequest, context: RunContext) -> str:
        """Digest of everything that a fit depends on besides its variant, pairs and seed."""
        named = named_sets(context.store, request.unpaired)
        content = [features.content() for features in (*self.source.sets, *named)]
        return fingerprint({**self.facts(request), "content": content, "versions": versions(), "test": request.test})


def plan(request: PairCurveRequest, context: RunContext) -> list[WorkEstimate]:
    """How many fits are not there yet; what they take is not known beforehand. Raises as `run` does."""
    data = CurveData.of(request, context)
    there = {each.key for each in curve_so_far(request, data, context).fits}
    fits = sum(1 for seed, pairs, variant in data.cells(request) if (variant.label, pairs, seed) not in there)
    what = f"curve of {len(data.variants)} methods over {len(request.pairs)} numbers of pairs (fits)"
    return [WorkEstimate(what, len(data.training), fits, 1000 * fits, data.sides.size(data.training), None)]


def run(request: PairCurveRequest, context: RunContext) -> PairCurve:
    """Fit and measure what an earlier run of the same curve has not. Each fit is saved when it is done; a method that
    refuses a number of pairs is in the record with its reason.

    Raises StructureError for what is not in the store, and where a curve of that name is of other data or options.
    """
    data = CurveData.of(request, context)
    curve = curve_so_far(request, data, context)
    folder = context.store.folder(FOLDER, request.name or default_name(data))
    context.require_writable("a curve")
    if request.replace and folder.exists(FILE):
        folder.remove(FILE)
    there = {each.key for each in curve.fits}
    cells = list(data.cells(request))
    measuring = Measuring(data.sides.read(data.training), data.sides.read(data.test), context.resolved_device)
    numbers = {item: number for number, item in enumerate(data.training.items.tolist())}
    unpaired: dict[tuple[int, int], Unpaired] = {}
    for done, (seed, pairs, variant) in enumerate(cells, start=1):
        context.on_event(Progress("curve", done, len(cells), "fits"))
        if (variant.label, pairs, seed) in there | {each.key for each in curve.fits}:
            continue
        chosen = data.training.subset(pairs, seed=seed)
        if variant.use_of_unpaired != "unused" and (seed, pairs) not in unpaired:
            unpaired = {(seed, pairs): data.unpaired(chosen, seed)}
        rows = np.array([numbers[item] for item in chosen.items.tolist()], dtype=np.int64)
        fitted = measuring.fit(variant, rows, unpaired.get((seed, pairs), Unpaired()), seed=seed)
        curve = replace(curve, fits=(*curve.fits, fitted))
        curve = _written(folder, curve)
    folder.write(FIGURE, curve.packed_figure(folder))
    return replace(curve, place=str(folder))


def _written(folder: Files, curve: PairCurve) -> PairCurve:
    """The curve with the fits that another run of it has saved meanwhile, written in their place. Raises DamageError
    for a record that does not read; one of other data is replaced."""
    while True:
        if not folder.exists(FILE):
            if folder.create(FILE, curve.packed(folder)):
                return curve
            continue
        before = folder.read(FILE)
        saved = PairCurve.parse(before, folder)
        if saved.identity == curve.identity:
            own = {each.key for each in curve.fits}
            curve = replace(curve, fits=(*curve.fits, *(each for each in saved.fits if each.key not in own)))
        if folder.swap(FILE, before, curve.packed(folder)):
            return curve


def curve_so_far(request: PairCurveRequest, data: CurveData, context: RunContext) -> PairCurve:
    """What the store has of the curve; one without fits where there is none, or where it is made anew. Raises
    StructureError where the one of that name is of other data or options."""
    name = request.name or default_name(data)
    folder = context.store.folder(FOLDER, name)
    curve = PairCurve(data.facts(request), data.identity(request, context))
    if request.replace or not folder.exists(FILE):
        return curve
    before = PairCurve.read(folder)
    if before.identity != curve.identity:
        raise StructureError(
            f"The curve {name} is there, of other data, layers, options or versions of libraries. Pass --replace "
            "to make it anew, or another --name."
        )
    return before


def default_name(data: CurveData) -> str:
    """Of data and encoders."""
    first, second = data.source.sets
    return "-".join([first.manifest.dataset, first.manifest.encoder, second.manifest.encoder, "curve"])


pair_curve = keyword_form(
    "pair_curve", PairCurveRequest, run, plan, about="Recall over the number of training pairs, for several methods."
)
