"""One run: the method selected where that is asked for, trained, tested on held-out pairs, and saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from structure.pipeline.aligners.aligned import Aligned
from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_method import fit_data
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.layer_concat import ConcatenatedData
from structure.pipeline.aligners.option_effects import use_of_unpaired
from structure.pipeline.aligners.option_groups import PairOptions
from structure.pipeline.aligners.saved_aligner import save_aligned
from structure.pipeline.aligners.structure_diagnosis import diagnose
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.alignment.identified_run import IdentifiedRun
from structure.pipeline.alignment.training_inputs import TrainingInputs
from structure.pipeline.device import resolve_device
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, FeatureSource
from structure.pipeline.metrics.chance import unsaturated_ks
from structure.pipeline.metrics.retrieval_ranks import Ranks, retrieval_ranks
from structure.pipeline.metrics.score import retrieval_answers
from structure.pipeline.model_selection.folds import TooFewPairsError
from structure.pipeline.model_selection.options import SelectionOptions
from structure.pipeline.model_selection.outcome import selection_files
from structure.pipeline.model_selection.stored import StoredSelection, select_stored, several_of
from structure.pipeline.pairing.given_splits import given_validation
from structure.pipeline.pairing.labelled import labelled_pairs
from structure.pipeline.pairing.labelled_name import Labelled
from structure.pipeline.pairing.text_variance import text_within
from structure.pipeline.pairing.training_rows import joined_pairs
from structure.pipeline.progress import Note
from structure.pipeline.results import TEST_PREDICTIONS
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.align import AlignRequest
from structure.store.sealed_tables import packed

READ_AT_ONCE = 128 * 2**20
"""Bytes of rows that are read in passes, at a time."""


def select_and_train(
    request: AlignRequest, auto: SelectionOptions, context: RunContext, inputs: TrainingInputs, this: IdentifiedRun
) -> Aligned:
    """Select method, options and layers on the training pairs, then fit the choice to all of them. Raises as `train`
    does."""
    chosen, options = inputs.chosen, request.options
    common = {"seed": options.seed, "device": options.device}
    several = several_of(
        context.store, dataset=request.dataset, split=request.split, vision=request.vision, text=request.text
    )
    source = StoredSelection(
        context.store,
        chosen.sets,
        inputs.rows,
        several,
        request.memory,
        unpaired=request.unpaired,
        test=inputs.test_rows,
    )
    try:
        selection = select_stored(source, request.layers, auto, common=common, on_event=context.on_event)
    except TooFewPairsError as error:
        if not auto.weights:
            raise
        context.note(f"R_S has its published weight: none can be chosen. {error}")
        return _train_chosen(replace(request, auto=None), context, this)
    best = selection.chosen
    weight = best.structure.get("weight", 0.0)
    context.note((f"R_S has the weight {weight:g}: " if auto.weights else "") + selection.why)
    made = options.changed(**best.structure) if auto.weights else best.options.changed(refit=True)
    seen = request.unpaired if use_of_unpaired(made) != "unused" else ()
    final = replace(request, auto=None, layers=",".join(best.layers), options=made, replace=True, unpaired=seen)
    weighed = options if auto.weights else None
    return _train_chosen(final, context, replace(this, selection=selection.to_dict(), weighed=weighed))


def _train_chosen(request: AlignRequest, context: RunContext, selected: IdentifiedRun) -> Aligned:
    """Train with the options of the request, which the run `selected` chose; another may have made it meanwhile."""
    inputs = TrainingInputs.of(request, context)
    inputs = replace(inputs, chosen=replace(inputs.chosen, chosen_by="cross-validation")).bounded(request, context)
    own = IdentifiedRun.of(request, context, inputs)
    this = replace(selected, facts=own.facts, identity=own.identity)
    before = this.made_before(request, context)
    return train(request, context, inputs, this) if before is None else before


def train(request: AlignRequest, context: RunContext, inputs: TrainingInputs, this: IdentifiedRun) -> Aligned:
    """Train with the options of the request and save. Raises StructureError for a device that is not there, for too few
    pairs, and for rows that are not finite."""
    options, chosen, test_rows = request.options, inputs.chosen, inputs.test_rows
    store, on_event, sides, sets = context.store, context.on_event, inputs.chosen.sides, inputs.chosen.sets
    device = resolve_device(options.device)
    context.require_writable("an aligner")
    state = store.folder("checkpoints", this.name)
    checkpoint = Checkpoint(state, "checkpoint.safetensors", this.identity, every=request.checkpoint_every)
    data = _training_data(request, context, inputs)
    diagnosis = None
    if isinstance(asked := this.weighed or options, PairOptions) and asked.uses_structure:
        within = text_within(store, sets[1], chosen.names[1])
        diagnosis = diagnose(*ConcatenatedData.of(data).sides, asked, text_within=within)
        advice = "" if this.weighed else " --weight auto lets cross-validation decide."
        on_event(Note(diagnosis.sentence() + advice))
    trained = fit_data(data, options, checkpoint=checkpoint, on_event=on_event)
    del data  # the rows need not stay beside the embeddings of the test
    ranks = test_ranks(trained.aligner, *sides.read(test_rows, plain=True)) if len(test_rows) else None
    metrics = {} if ranks is None else ranks.metrics(unsaturated_ks((1, 5, 10), len(test_rows)))
    aligner = trained.aligner.describe(
        **this.facts,
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
    folder = save_aligned(store, this.name, aligner, trained, more=files, on_event=on_event)
    state.remove_tree("")
    return Aligned(this.name, folder, aligner.method, aligner.metadata, replace(trained, aligner=aligner))


def _training_data(request: AlignRequest, context: RunContext, inputs: TrainingInputs) -> TrainingData:
    """The training pairs, with the labelled ones that are added; read on demand unless they are taken into memory."""
    chosen, rows, memory = inputs.chosen, inputs.rows, request.memory
    sides, unpaired = chosen.sides, inputs.source(request, context).read(inputs.unpaired)
    if sides.kind == "tokens":
        return TrainingData(*sides.rows(rows), unpaired=unpaired, memory=memory)
    both: tuple[Any, Any] = sides.read(rows) if inputs.in_memory else sides.rows(rows)
    if sides.kind == "sets":
        told = [f"{int(side.lengths.min())} to {int(side.lengths.max())}" for side in both]
        context.note(f"{told[0]} views and {told[1]} captions a sample")
    source = FeatureSource(replace(context, device=resolve_device(request.options.device)))
    for extra in map(Labelled.parse, request.add):
        more = labelled_pairs(extra, source, chosen.sets, chosen.names, seed=request.options.seed)
        context.note(f"{len(more[0]):,} labelled pairs of {extra.dataset} are added")
        both = joined_pairs(both, more)
    return TrainingData(*both, given_validation(sides, request.split_column), unpaired=unpaired, memory=memory)


def test_ranks(aligner: Aligner, vision: Any, text: Any) -> Ranks:
    """Ranks both ways of (n, dv) and (n, dt) features, or tokens, whose rows pair."""
    return retrieval_ranks(aligner.embed_images(vision), aligner.embed_texts(text), np.arange(len(vision)))


test_ranks.__test__ = False  # type: ignore[attr-defined]
