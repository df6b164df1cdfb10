"""Stage 3: light heads trained with STRUCTURE straight from the cached shards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_method import fit_data, method
from structure.pipeline.aligners.aligner_runs import AlignerName
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.estimate import bytes_at_most, probed_pairs, seconds_at_most
from structure.pipeline.aligners.fit_result import versions
from structure.pipeline.aligners.layer_concat import ConcatenatedData
from structure.pipeline.aligners.option_effects import use_of_unpaired
from structure.pipeline.aligners.option_groups import PairOptions, StructureOptions
from structure.pipeline.aligners.options import TrainingOptions, all_option_names
from structure.pipeline.aligners.saved_aligner import Aligned, find_aligned, save_aligned
from structure.pipeline.aligners.structure_diagnosis import diagnose
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.device import resolve_device
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, FeatureSource
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.metrics.chance import unsaturated_ks
from structure.pipeline.metrics.retrieval_ranks import Ranks, retrieval_ranks
from structure.pipeline.metrics.score import retrieval_answers
from structure.pipeline.model_selection.folds import TooFewPairsError
from structure.pipeline.model_selection.options import SELECTION_OPTIONS, SelectionOptions
from structure.pipeline.model_selection.outcome import selection_files
from structure.pipeline.model_selection.select import WEIGHED
from structure.pipeline.model_selection.stored import StoredSelection, select_stored, several_of
from structure.pipeline.pairing.given_splits import given_split, given_validation, split_identity
from structure.pipeline.pairing.held_out_pairs import training_and_test
from structure.pipeline.pairing.labelled import Labelled, labelled_pairs
from structure.pipeline.pairing.layer_pair import AlignedLayers
from structure.pipeline.pairing.pairs import PairedRows, pair_rows
from structure.pipeline.pairing.text_variance import text_within
from structure.pipeline.pairing.training_rows import fit_memory, held_bytes, joined_pairs
from structure.pipeline.pairing.unpaired_rows import UnpairedSource, named_sets
from structure.pipeline.progress import Note
from structure.pipeline.results import TEST_PREDICTIONS
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.align import AUTO, AlignRequest, requested_layers
from structure.pipeline.work_estimate import WorkEstimate, require_space
from structure.store import FeatureSet
from structure.store.errors import StructureError
from structure.store.fingerprint import fingerprint
from structure.store.sealed_tables import packed

SHORT_TRAINING = 2_000_000
"""Pairs up to which nobody is asked about a training: on two cores they take half an hour with R_S, of batches of
4,096."""

STARTED = time.process_time()
"""Processor seconds that this program took to start, which every command takes."""

MATCHED_COPIES = 7
"""Unpaired rows in memory where they are matched, over their size in half precision: as stored, in float32, less their
mean, and of unit length."""

READ_AT_ONCE = 128 * 2**20
"""Bytes of rows that are read in passes, at a time."""


@dataclass(frozen=True)
class ChosenLayers:
    """The layers that are aligned, how they were chosen, and how their rows are read."""

    sides: AlignedLayers
    chosen_by: str

    @property
    def sets(self) -> tuple[FeatureSet, FeatureSet]:
        """The vision and the text feature set."""
        return self.sides.vision[0], self.sides.text[0]

    @property
    def names(self) -> tuple[str, str]:
        """The vision and the text layer, each one or several joined with `+`."""
        return self.sides.vision[1], self.sides.text[1]


def plan(request: AlignRequest, context: RunContext, *, runs: int = 1, probe_from: int = 0) -> list[WorkEstimate]:
    """All `runs` of a training together, at most: one that stops early takes less. Raises as `run` does.

    Time is probed where the epochs of all runs see `probe_from` pairs or more (a pair of token lists counts as 16).
    """
    options, pairs = request.options, request.pairs
    began = time.perf_counter()
    chosen = _chosen_layers(request, context)
    sides, sets, layers = chosen.sides, chosen.sets, chosen.names
    rows = pair_rows(context.store, *sets)
    rows = rows if pairs is None else rows.subset(pairs, seed=options.seed)
    if runs == 1:
        _identified(request, chosen, context, _rows(request, chosen, context.without_notes())[0])
    listing = time.perf_counter() - began  # of the pairs, which a run does as often as its own plan
    widths, aligning = sides.widths, method(options.method)
    dim = aligning.dim(options, widths=widths, pairs=len(rows))
    what, disk = f"{sets[0].key} and {sets[1].key} (runs)", runs * sum(widths) * dim * 4
    tokens, seconds = sides.kind == "tokens", None
    weights = () if request.auto is None else request.auto.weights
    if request.auto is not None and not weights:
        memory = bytes_at_most(options, widths=widths, pairs=len(rows), held=sides.size(rows))
        seconds = runs * request.auto.budget
        what = f"selection of a method for {what}, within its budget"
    else:
        fits = tokens or fit_memory(sides, rows, options, request.memory, adds=bool(request.add))
        held = READ_AT_ONCE if tokens or not fits else held_bytes(sides, rows)
        memory = bytes_at_most(options, widths=widths, pairs=len(rows), held=held)
        what = f"{options.method} on {layers[0]} of {sets[0].key} and {layers[1]} of {sets[1].key} (runs)"
        is_probed = aligning.use_of_unpaired(options) != "required"  # of those the unpaired rows say the time
        if is_probed and runs * aligning.passes(options) * len(rows) * (16 if tokens else 1) >= probe_from:
            began = time.perf_counter()
            probed = sides.read(rows.subset(probed_pairs(options, tokens=tokens), seed=0))
            reading = time.perf_counter() - began  # rows from everywhere: about one pass
            each = seconds_at_most(*probed, options, pairs=len(rows))
            if request.auto is not None:
                fit_of_some = seconds_at_most(*probed, options, pairs=min(len(rows), WEIGHED))
                each += min(request.auto.budget, request.auto.folds * len(weights) * fit_of_some)
            seconds = STARTED + runs * (2 * listing + reading + each)
    parts = [WorkEstimate(what, len(rows), runs, disk, memory, seconds)]
    require_space(context.store, parts)
    return parts


def _chosen_layers(request: AlignRequest, context: RunContext) -> ChosenLayers:
    """The layers of a request. Raises StructureError for data or layers that are not there or not complete."""
    options = request.options
    kind, sets, (first, second, chosen_by) = requested_layers(context.store, request)
    most = method(options.method).most_vectors(options)
    sides = AlignedLayers(context.store, (sets[0], first), (sets[1], second), kind, most, request.cache)
    sides.require_complete()
    return ChosenLayers(sides, chosen_by)


def run(request: AlignRequest, context: RunContext) -> Aligned:
    """Train and save. A run that was killed goes on from its checkpoint when it is started again.

    The aligner records the fingerprints of the features that it fits. Raises StructureError for what is not in the
    store, for too few pairs, and for rows that `memory` does not hold.
    """
    if request.options.device == "auto" != context.device:
        request = replace(request, options=replace(request.options, device=context.device))
    return _trained(request, context) if request.auto is None else _selected(request, request.auto, context)


def _selected(request: AlignRequest, auto: SelectionOptions, context: RunContext) -> Aligned:
    """Select method, options and layers on the training pairs, then fit the choice to all of them."""
    for text in request.add:
        Labelled.parse(text)  # what is wrong is told before anything is fitted
    chosen, options = _chosen_layers(request, context), request.options
    rows, test_rows = _rows(request, chosen, context.without_notes())
    this = _identified(request, chosen, context, rows)
    if (before := _before(request, context, this)) is not None:
        return before
    common = {"seed": options.seed, "device": options.device}
    several = several_of(
        context.store, dataset=request.dataset, split=request.split, vision=request.vision, text=request.text
    )
    source = StoredSelection(
        context.store, chosen.sets, rows, several, request.memory, unpaired=request.unpaired, test=test_rows
    )
    try:
        selection = select_stored(source, request.layers, auto, common=common, on_event=context.on_event)
    except TooFewPairsError as error:
        if not auto.weights:
            raise
        context.note(f"R_S has its published weight: none can be chosen. {error}")
        return _trained(replace(request, auto=None), context, this)
    best = selection.chosen
    weight = best.structure.get("weight", 0.0)
    context.note((f"R_S has the weight {weight:g}: " if auto.weights else "") + selection.why)
    made = options.changed(**best.structure) if auto.weights else best.options.changed(refit=True)
    seen = request.unpaired if use_of_unpaired(made) != "unused" else ()
    final = replace(request, auto=None, layers=",".join(best.layers), options=made, replace=True, unpaired=seen)
    weighed = options if auto.weights else None
    return _trained(final, context, replace(this, selection=selection.to_dict(), weighed=weighed))


def _trained(request: AlignRequest, context: RunContext, selected: _Run | None = None) -> Aligned:
    """Train with the options of the request; `selected` is the run that chose them, where one did."""
    options = request.options
    target, on_event = context.store, context.on_event
    for text in request.add:
        Labelled.parse(text)  # what is wrong is told before anything is read
    chosen = _chosen_layers(request, context)
    if selected is not None:
        chosen = replace(chosen, chosen_by="cross-validation")
    sides, sets, layers, kind = chosen.sides, chosen.sets, chosen.names, chosen.sides.kind
    rows, test_rows = _rows(request, chosen, context)
    on_event(Note(f"layers {layers[0]} and {layers[1]} ({chosen.chosen_by}), {len(rows):,} pairs"))
    fits = kind == "tokens" or fit_memory(
        sides, rows, options, request.memory, adds=bool(request.add), on_event=on_event
    )
    device = resolve_device(options.device)
    extras = _unpaired(request, chosen, context, rows, test_rows)
    this = _identified(request, chosen, context, rows)
    if selected is not None:
        this = replace(selected, facts=this.facts, identity=this.identity)
    called, facts = this.name, this.facts
    if (before := _before(request, context, this)) is not None:
        return before
    context.require_writable("an aligner")
    state = target.folder("checkpoints", called)
    checkpoint = Checkpoint(state, "checkpoint.safetensors", this.identity, every=request.checkpoint_every)
    data = _training_data(request, chosen, context, rows, unpaired=extras, in_memory=fits)
    diagnosis, weighed = None, None if selected is None else selected.weighed
    if isinstance(asked := weighed or options, PairOptions) and asked.uses_structure:
        within = text_within(target, sets[1], layers[1])
        diagnosis = diagnose(*ConcatenatedData.of(data).sides, asked, text_within=within)
        advice = "" if weighed else " --weight auto lets cross-validation decide."
        on_event(Note(diagnosis.sentence() + advice))
    trained = fit_data(data, options, checkpoint=checkpoint, on_event=on_event)
    del data  # the rows need not stay beside the embeddings of the test
    ranks = test_ranks(trained.aligner, *sides.read(test_rows, plain=True)) if len(test_rows) else None
    metrics = {} if ranks is None else ranks.metrics(unsaturated_ks((1, 5, 10), len(test_rows)))
    aligner = trained.aligner.describe(
        **facts,
        run=this.id,
        seconds=trained.seconds,
        layers_chosen_by=chosen.chosen_by,
        **({"selection": this.selection} if this.selection else {}),
        encoders={
            side: EncoderRecord.of(features).to_json() for side, features in zip(("vision", "text"), sets, strict=True)
        },
        device=device,
        **({} if diagnosis is None else {"structure_diagnosis": diagnosis.to_dict()}),
        **({"test_pairs": len(test_rows), "test_metrics": metrics} if len(test_rows) else {}),
    )
    files = selection_files(this.selection) if this.selection else {}
    if ranks is not None:
        ids = [str(item) for item in test_rows.items]
        files[TEST_PREDICTIONS] = packed(retrieval_answers(ranks, image_ids=ids, text_ids=ids).table)
    folder = save_aligned(target, called, aligner, trained, more=files, on_event=on_event)
    state.remove_tree("")
    trained = replace(trained, aligner=aligner)
    return Aligned(called, folder, trained, sides.names, metrics, len(test_rows), this.selection)


def _training_data(
    request: AlignRequest,
    chosen: ChosenLayers,
    context: RunContext,
    rows: PairedRows,
    *,
    unpaired: Unpaired,
    in_memory: bool,
) -> TrainingData:
    """The training pairs, with the labelled ones that are added; read on demand unless they are taken `in_memory`."""
    sides, memory = chosen.sides, request.memory
    if sides.kind == "tokens":
        return TrainingData(*sides.rows(rows), unpaired=unpaired, memory=memory)
    both: tuple[Any, Any] = sides.read(rows) if in_memory else sides.rows(rows)
    if sides.kind == "sets":
        told = [f"{int(side.lengths.min())} to {int(side.lengths.max())}" for side in both]
        context.note(f"{told[0]} views and {told[1]} captions a sample")
    source = FeatureSource(replace(context, device=resolve_device(request.options.device)))
    for extra in map(Labelled.parse, request.add):
        more = labelled_pairs(extra, source, chosen.sets, chosen.names, seed=request.options.seed)
        context.note(f"{len(more[0]):,} labelled pairs of {extra.dataset} are added")
        both = joined_pairs(both, more)
    return TrainingData(*both, given_validation(sides, request.split_column), unpaired=unpaired, memory=memory)


@dataclass(frozen=True)
class _Run:
    """A run as it is on record: `facts` for the aligner, everything that determines its weights, the digest of that and
    of the test fraction, the aligner's name, and how its method was selected, where it was; `weighed` are the options
    with the published weight of R_S, where only that was."""

    facts: dict[str, Any]
    identity: dict[str, Any]
    id: str
    name: str
    selection: Mapping[str, Any] | None = None
    weighed: TrainingOptions | None = None


def _before(request: AlignRequest, context: RunContext, this: _Run) -> Aligned | None:
    """What the same run made; None with labelled pairs, whose data may have changed."""
    if request.add:
        return None
    return find_aligned(context.store, this.name, this.id, replace=request.replace, on_event=context.on_event)


def _identified(request: AlignRequest, chosen: ChosenLayers, context: RunContext, rows: PairedRows) -> _Run:
    """The run that trains on `rows`. Raises StructureError where another run has its name."""
    options, sets = request.options, chosen.sets
    facts: dict[str, Any] = {
        "layers": chosen.sides.names,
        "data": {"dataset": sets[0].manifest.dataset, "split": sets[0].manifest.split},
        "fingerprints": {"vision": sets[0].fingerprint, "text": sets[1].fingerprint},
        "added": list(request.add),
        "unpaired_features": list(request.unpaired),
    }
    identity = {
        **facts,
        "options": options.to_dict(),
        "content": [features.content() for features in (*sets, *named_sets(context.store, request.unpaired))],
        "rows": fingerprint({"rows": rows.items.tolist()}),
        **({} if request.auto is None else {"auto": request.auto.to_dict(), "layer_candidates": request.layers}),
        **split_identity(chosen.sides, request.split_column),
    }
    run = fingerprint({**identity, "versions": versions(), "test": request.test})
    default = default_name(*sets, request)
    return _Run(facts, identity, run, AlignerName(request.name, default, request.replace).of(run, context.store))


def test_ranks(aligner: Aligner, vision: Any, text: Any) -> Ranks:
    """Ranks both ways of (n, dv) and (n, dt) features, or tokens, whose rows pair."""
    return retrieval_ranks(aligner.embed_images(vision), aligner.embed_texts(text), np.arange(len(vision)))


test_ranks.__test__ = False  # type: ignore[attr-defined]


def default_name(vision: FeatureSet, text: FeatureSet, request: AlignRequest) -> str:
    """A name that tells apart what is usually compared: data, encoders, layers, method, regulariser, pairs, seed."""
    options = request.options
    is_plain = isinstance(options, StructureOptions) and not options.uses_structure
    parts = [
        vision.manifest.dataset,
        vision.manifest.encoder,
        text.manifest.encoder,
        request.layers.replace("+", "_").replace(",", "+"),
        AUTO if request.auto is not None and not request.auto.weights else options.method,
        *(["weight-auto"] if request.auto is not None and request.auto.weights else []),
        *(["plain"] if is_plain and request.auto is None else []),
        *([] if request.pairs is None else [f"{request.pairs}pairs"]),
        f"seed{options.seed}",
    ]
    return "-".join(parts)


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


def _unpaired(
    request: AlignRequest, chosen: ChosenLayers, context: RunContext, rows: PairedRows, test_rows: PairedRows
) -> Unpaired:
    """The unpaired rows, none of which is in a pair that trains or tests; of methods that match them no sample is on
    both sides."""
    source = UnpairedSource(context.store, request.unpaired, chosen.sets, chosen.names)
    matches = method(request.options.method).use_of_unpaired(request.options) == "required"
    source.require_memory(request.memory, copies=MATCHED_COPIES if matches else 1, halved=matches)
    return source.read(
        np.concatenate([rows.items, test_rows.items]),
        halves=request.options.seed if matches else None,
        on_event=context.on_event,
    )


align = keyword_form(
    "align",
    AlignRequest,
    run,
    plan,
    about="Train an aligner from the cached shards, with the regulariser R_S of STRUCTURE or without.",
    more=[*all_option_names(), *SELECTION_OPTIONS],
    build=AlignRequest.of,
)
