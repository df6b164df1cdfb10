"""What a training reads: the layers, which pairs train and which are the test, and the rows without a partner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.pairing.given_splits import given_split
from structure.pipeline.pairing.held_out_pairs import training_and_test
from structure.pipeline.pairing.layer_pair import AlignedLayers
from structure.pipeline.pairing.pairs import PairedRows, pair_rows
from structure.pipeline.pairing.training_rows import fit_memory
from structure.pipeline.pairing.unpaired_rows import Free, UnpairedSource
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.align import AlignRequest, requested_layers
from structure.store import FeatureSet
from structure.store.errors import StructureError

MATCHED_COPIES = 7
"""Unpaired rows in memory where they are matched, over their size in half precision: as stored, in float32, less their
mean, and of unit length."""


@dataclass(frozen=True)
class ChosenLayers:
    """The layers that are aligned, how they were chosen, and how their rows are read."""

    sides: AlignedLayers
    chosen_by: str

    @classmethod
    def of(cls, request: AlignRequest, context: RunContext) -> ChosenLayers:
        """The layers of a request. Raises StructureError for data or layers that are not there or not complete."""
        options = request.options
        kind, sets, (first, second, chosen_by) = requested_layers(context.store, request)
        most = method(options.method).most_vectors(options)
        sides = AlignedLayers(context.store, (sets[0], first), (sets[1], second), kind, most, request.cache)
        sides.require_complete()
        return cls(sides, chosen_by)

    @property
    def sets(self) -> tuple[FeatureSet, FeatureSet]:
        """The vision and the text feature set."""
        return self.sides.vision[0], self.sides.text[0]

    @property
    def names(self) -> tuple[str, str]:
        """The vision and the text layer, each one or several joined with `+`."""
        return self.sides.vision[1], self.sides.text[1]


@dataclass(frozen=True)
class TrainingInputs:
    """What a training reads. `in_memory`: whether both layers are read at once, else in passes; `unpaired` are the rows
    of no pair."""

    chosen: ChosenLayers
    rows: PairedRows
    test_rows: PairedRows
    in_memory: bool = True
    unpaired: Free = field(default_factory=lambda: ([], []))

    @classmethod
    def of(cls, request: AlignRequest, context: RunContext) -> TrainingInputs:
        """The layers with the pairs that train and those of the test. Raises StructureError for what is not there and
        for fewer pairs than are asked for."""
        chosen = ChosenLayers.of(request, context)
        return cls(chosen, *_rows(request, chosen, context))

    def bounded(self, request: AlignRequest, context: RunContext) -> TrainingInputs:
        """The same with what `memory` allows and the unpaired rows; what is chosen and left out is told.

        No unpaired row is in a pair that trains or tests; of methods that match them no sample is on both sides. Raises
        StructureError for rows that `memory` does not hold.
        """
        sides, options, layers = self.chosen.sides, request.options, self.chosen.names
        told = f"layers {layers[0]} and {layers[1]} ({self.chosen.chosen_by}), {len(self.rows):,} pairs"
        context.note(told)
        in_memory = sides.kind == "tokens" or fit_memory(
            sides, self.rows, options, request.memory, adds=bool(request.add), on_event=context.on_event
        )
        source = self.source(request, context)
        matches = method(options.method).use_of_unpaired(options) == "required"
        source.require_memory(request.memory, copies=MATCHED_COPIES if matches else 1, halved=matches)
        unpaired = source.disjoint(
            np.concatenate([self.rows.items, self.test_rows.items]),
            halves=options.seed if matches else None,
            on_event=context.on_event,
        )
        return replace(self, in_memory=in_memory, unpaired=unpaired)

    def source(self, request: AlignRequest, context: RunContext) -> UnpairedSource:
        """Where unpaired rows come from."""
        return UnpairedSource(context.store, request.unpaired, self.chosen.sets, self.chosen.names)


def pairs_ahead(request: AlignRequest, chosen: ChosenLayers, pairs: int) -> int:
    """Pairs that all passes of a run over so many see; a pair of token lists counts as 16."""
    each = 16 if chosen.sides.kind == "tokens" else 1
    return method(request.options.method).passes(request.options) * pairs * each


def weights_bytes(request: AlignRequest, chosen: ChosenLayers, pairs: int) -> int:
    """Bytes of the weights that a run writes, at most."""
    widths = chosen.sides.widths
    return sum(widths) * method(request.options.method).dim(request.options, widths=widths, pairs=pairs) * 4


def asked_rows(request: AlignRequest, chosen: ChosenLayers, context: RunContext) -> PairedRows:
    """The pairs of both feature sets, or as many of them as are asked for."""
    rows = pair_rows(context.store, *chosen.sets)
    return rows if request.pairs is None else rows.subset(request.pairs, seed=request.options.seed)


def _rows(request: AlignRequest, chosen: ChosenLayers, context: RunContext) -> tuple[PairedRows, PairedRows]:
    """(the training pairs, the test pairs); no test pair for a share of 0."""
    sets, test, pairs, seed = chosen.sets, request.test, request.pairs, request.options.seed
    rows = pair_rows(context.store, *sets)
    if told := rows.left_out():
        context.note(told)
    given = given_split(chosen.sides, request.split_column)
    if given is not None:
        rows, out_rows = given.training, given.test
    elif test:
        count = len(rows)
        rows, out_rows = training_and_test(rows, share=test)
        if len(out_rows) != round(test * count):
            context.note(f"{len(out_rows):,} of {count:,} pairs are the test: at least 16, at most a third and 4,096")
    else:
        out_rows = rows.take(np.zeros(0, dtype=np.int64))
    if pairs is None:
        return rows, out_rows
    if pairs > len(rows):
        held_back = f" besides {len(out_rows):,} test pairs" if len(out_rows) else ""
        raise StructureError(f"--pairs {pairs:,} was asked for and {sets[0].key} has {len(rows):,} pairs{held_back}.")
    return rows.subset(pairs, seed=seed), out_rows
