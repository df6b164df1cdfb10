"""Stage 3: light heads trained with STRUCTURE straight from the cached shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from structure.pipeline.aligners.aligner import RECORD, Aligner, load_aligner
from structure.pipeline.aligners.batches import held_out
from structure.pipeline.aligners.card import CARD, card
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.methods import STREAMED, Inputs, fit, inputs, method
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.sequence_methods import train_stored
from structure.pipeline.aligners.training import Trained, versions
from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.device import resolve_device
from structure.pipeline.features.cached import EncoderRecord, FeatureSource
from structure.pipeline.features.labelled import Labelled, labelled_pairs
from structure.pipeline.features.pairs import HeldLayers, Pairs, SelectedRows, choose_sets, gather, pair_rows
from structure.pipeline.features.sequences import gather_sets, gather_tokens, require_tokens
from structure.pipeline.features.unpaired import unpaired_rows
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.results import write_table
from structure.pipeline.similarity.ranking import best_layers
from structure.pipeline.suites.retrieval import retrieval_ranks
from structure.store import FeatureSet, Store, open_store
from structure.store.errors import StructureError, unknown
from structure.store.files import Files
from structure.store.fingerprint import fingerprint
from structure.store.row_sources import TokenSource

TEST_SEED = 0
"""The test pairs are the same for every seed of a run: differences between seeds are then not those of the test."""


@dataclass(frozen=True)
class Aligned:
    """A trained aligner, where it was kept, and how it came about; `test` are metrics of pairs that it never met."""

    name: str
    folder: Files
    trained: Trained
    layers: dict[str, str]
    test: dict[str, float]
    test_pairs: int

    def to_json(self) -> dict[str, Any]:
        """The document of `structure align --json`."""
        trained = self.trained
        return {
            "aligner": self.name,
            "method": trained.aligner.method,
            "layers": self.layers,
            "pairs": trained.pairs,
            "validation_pairs": trained.validation_pairs,
            "test_pairs": self.test_pairs,
            "refit_pairs": trained.refit_pairs,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "learning_rate": trained.rate,
            "metrics": trained.metrics,
            "test_metrics": self.test,
            "seconds": trained.seconds,
            "pairs_per_second": trained.pairs_per_second,
        }


def align(
    layers: str = "auto",
    *,
    store: Store | str | Path,
    dataset: str | None = None,
    split: str | None = None,
    vision: str | None = None,
    text: str | None = None,
    options: TrainingOptions | None = None,
    pairs: int | None = None,
    test: float = 0.0,
    add: Sequence[str] = (),
    unpaired: Sequence[str] = (),
    memory: int | None = None,
    name: str | None = None,
    data_root: str | Path = "data",
    held: HeldLayers | None = None,
    reuse: bool = False,
    checkpoint_every: float = 30.0,
    on_event: Listener = silent,
) -> Aligned:
    """Train an aligner on the pairs of a dataset split and keep it below `aligners/<name>/`.

    `layers`: "auto" (the newest ranking of these two feature sets), "last" (the last block of each side), or
    "<vision layer>,<text layer>". `options` say how to train. `test` holds back that share of the pairs, the same for
    every seed, before `pairs` takes a seeded subset of the others. `add` names labelled data as `DATASET:K`: K items a
    class, captioned with their label, join the training pairs. `unpaired` names feature sets of the same encoders
    that only R_S sees. `memory` bounds the bytes that both layers may take. `held` keeps layers for further runs;
    `reuse` takes an aligner of that name that the same run made before. Methods over tokens read those that are stored
    of the layers, within `memory`; `sma` reads all views and captions of an item.

    A run that was killed goes on from its checkpoint when it is started again. The aligner records the fingerprints
    of the features it fits.
    """
    target = store if isinstance(store, Store) else open_store(store)
    options = options or TrainingOptions()
    method(options.method)  # a name that is wrong is told before anything is read
    wanted = [Labelled.parse(text) for text in add]
    kind = inputs(options)
    ours, theirs = choose_sets(target, dataset=dataset, split=split, vision=vision, text=text, views=kind == "sets")
    for features in (ours, theirs):
        if not features.is_sealed:
            raise StructureError(f"{features.key} is not complete ({features.state}). Run its extract command again.")
    vision_layer, text_layer, chosen_by = choose_layers(
        target, _plain(target, ours), theirs, layers, tokens=kind == "tokens"
    )
    chosen = {"vision": vision_layer, "text": text_layer}
    rows = pair_rows(target, ours, theirs)
    if rows.skipped:
        on_event(Note(f"{rows.skipped} items are left out: one side could not be read."))
    rows, test_rows = _without_test(rows, test)
    if pairs is not None:
        if pairs > len(rows):
            held_back = f" besides {len(test_rows):,} test pairs" if len(test_rows) else ""
            raise StructureError(f"--pairs {pairs:,} was asked for and {ours.key} has {len(rows):,} pairs{held_back}.")
        rows = rows.subset(pairs, seed=options.seed)
    on_event(Note(f"layers {vision_layer} and {text_layer} ({chosen_by}), {len(rows):,} pairs"))
    device = resolve_device(options.device)

    def read(some: Pairs, kind: Inputs) -> tuple[Any, Any]:
        sides = ((ours, vision_layer, some.vision), (theirs, text_layer, some.text))
        found: list[Any]
        if kind == "sets":
            samples = target.samples(ours.manifest.dataset, ours.manifest.split)
            found = [gather_sets(features, layer, samples, some.items) for features, layer, _ in sides]
        elif kind == "tokens":
            found = [gather_tokens(*side) for side in sides]
        else:
            found = [(held.gather if held else gather)(*side) for side in sides]
        return found[0], found[1]

    both: Any = _streamed(ours, theirs, chosen, rows, options, memory, on_event) if kind == "rows" else None
    if both is None and kind != "tokens":
        both = read(rows, kind)
    if kind == "sets":
        told = [f"{int(side.lengths.min())} to {int(side.lengths.max())}" for side in both]
        on_event(Note(f"{told[0]} views and {told[1]} captions an item"))
    source = FeatureSource(target, device=device, on_event=on_event)
    if wanted and kind != "rows":
        raise StructureError(f"--add joins one vector an item; {options.method} reads several. Leave out --add.")
    for extra in wanted:
        more = labelled_pairs(
            extra, source, (ours, theirs), (vision_layer, text_layer), data_root=data_root, seed=options.seed
        )
        on_event(Note(f"{len(more[0]):,} labelled pairs of {extra.dataset} are added"))
        both = tuple(np.concatenate([old[:], new.astype(old[:1].dtype)]) for old, new in zip(both, more, strict=True))
    extras = Unpaired(*unpaired_rows(target, unpaired, (ours, theirs), (vision_layer, text_layer)))
    called = name or default_name(ours, theirs, layers, options, pairs)
    facts = {
        "layers": chosen,
        "data": {"dataset": ours.manifest.dataset, "split": ours.manifest.split},
        "fingerprints": {"vision": ours.fingerprint, "text": theirs.fingerprint},
        "added": list(add),
        "unpaired_features": list(unpaired),
    }
    identity = {
        **facts,
        "options": options.record(),
        "content": [ours.content(), theirs.content()],
        "rows": fingerprint({"rows": rows.items.tolist()}),
    }
    run = fingerprint({**identity, "versions": versions(), "test": test})
    if reuse:
        before = _found(target, called, run, chosen)
        if before is not None:
            on_event(Note(f"the aligner {called} is there, made by the same run"))
            return before
    state = target.folder("checkpoints", called)
    checkpoint = Checkpoint(state, "checkpoint.safetensors", identity, every=checkpoint_every)
    if kind == "tokens":
        sides = TokenSource(ours, vision_layer, rows.vision), TokenSource(theirs, text_layer, rows.text)
        trained = train_stored(*sides, options=options, memory=memory, checkpoint=checkpoint, on_event=on_event)
    else:
        trained = fit(*both, options=options, extras=extras, checkpoint=checkpoint, on_event=on_event)
    metrics = {}
    if len(test_rows):
        metrics = test_metrics(trained.aligner, *read(test_rows, "tokens" if kind == "tokens" else "rows"))
    aligner = trained.aligner.describe(
        **facts,
        run=run,
        seconds=trained.seconds,
        layers_chosen_by=chosen_by,
        encoders={"vision": EncoderRecord.of(ours).to_json(), "text": EncoderRecord.of(theirs).to_json()},
        device=device,
        **({"test_pairs": len(test_rows), "test_metrics": metrics} if len(test_rows) else {}),
    )
    folder = _keep(target, called, aligner, trained, on_event)
    state.remove_tree("")
    return Aligned(called, folder, trained, chosen, metrics, len(test_rows))


def test_metrics(aligner: Aligner, vision: Any, text: Any) -> dict[str, float]:
    """Retrieval recalls at 1, 5 and 10 of (n, dv) and (n, dt) features, or tokens, whose rows pair."""
    ranks = retrieval_ranks(aligner.embed_images(vision), aligner.embed_texts(text), np.arange(len(vision)))
    return ranks.metrics(tuple(k for k in (1, 5, 10) if k < len(vision)))


test_metrics.__test__ = False  # type: ignore[attr-defined]


def choose_layers(
    store: Store, vision: FeatureSet, text: FeatureSet, layers: str, *, tokens: bool = False
) -> tuple[str, str, str]:
    """(vision layer, text layer, how they were chosen); with `tokens` layers whose tokens are stored."""
    if layers == "auto":
        first, second, ranking = best_layers(store, vision, text)
        how = f"ranking {ranking}"
    elif layers == "last":
        first, second, how = last_block(vision), last_block(text), "the last of each"
    else:
        first, comma, second = (part.strip() for part in layers.partition(","))
        how = "given"
        if not comma:
            raise StructureError(f"--layers {layers!r}: write auto, last, or <vision layer>,<text layer>.")
    if tokens:  # of a layer that was pooled in several ways there is one set of tokens
        first, second = first.partition("@")[0], second.partition("@")[0]
        require_tokens(vision, first)
        require_tokens(text, second)
        return first, second, how
    for features, layer in ((vision, first), (text, second)):
        if layer not in features.layers:
            raise unknown("layer", layer, features.layers, hint=f"It was looked for in {features.key}.")
    return first, second, how


def _plain(store: Store, vision: FeatureSet) -> FeatureSet:
    """The set of plain pictures beside one of several views, where there is one: it is the one that gets ranked."""
    manifest = vision.manifest
    for other in store.feature_sets(dataset=manifest.dataset, split=manifest.split):
        its = other.manifest
        same = all(its.identity[part] == manifest.identity[part] for part in ("encoder", "extraction"))
        if manifest.views > 1 and its.views == 1 and same:
            return other
    return vision


def last_block(features: FeatureSet) -> str:
    """The output of the last block (the residual stream before any final norm), else the last stored layer."""
    blocks = [name for name in features.layers if name.startswith("block.")]
    return (blocks or list(features.layers))[-1]


def default_name(vision: FeatureSet, text: FeatureSet, layers: str, options: TrainingOptions, pairs: int | None) -> str:
    """A name that tells apart what is usually compared: data, encoders, layers, method, regulariser, pairs, seed."""
    parts = [
        vision.manifest.dataset,
        vision.manifest.encoder,
        text.manifest.encoder,
        layers.replace(",", "+"),
        options.method,
        *(["plain"] if options.regulariser == "none" else []),
        *([f"{pairs}pairs"] if pairs else []),
        f"seed{options.seed}",
    ]
    return "-".join(parts)


def _found(store: Store, name: str, run: str, layers: dict[str, str]) -> Aligned | None:
    """The aligner of that name, if the same run made it."""
    folder = store.folder("aligners", name)
    if not folder.exists(RECORD):
        return None
    aligner = load_aligner(folder)
    facts = aligner.metadata
    if facts.get("run") != run:
        return None
    trained = Trained(
        aligner,
        metrics=dict(facts["metrics"]),
        rate=facts.get("rate"),
        pairs=facts["pairs"],
        validation_pairs=facts["validation_pairs"],
        refit_pairs=facts.get("refit_pairs", 0),
        epochs=facts.get("epochs", 0),
        best_epoch=facts.get("best_epoch", 0),
        seconds=facts["seconds"],
        pairs_per_second=facts["pairs"] * max(facts.get("epochs", 0), 1) / facts["seconds"],
    )
    return Aligned(name, folder, trained, layers, dict(facts.get("test_metrics", {})), facts.get("test_pairs", 0))


def _without_test(rows: Pairs, share: float) -> tuple[Pairs, Pairs]:
    """(the other pairs, the test pairs); no test pair for a share of 0."""
    if not share:
        return rows, rows.take(np.zeros(0, dtype=np.int64))
    if not 0 < share < 1:
        raise StructureError(f"--test {share:g} is no share of the pairs; it must be between 0 and 1.")
    kept, out = held_out(len(rows), share=share, seed=TEST_SEED)
    return rows.take(kept), rows.take(out)


def _streamed(
    vision: FeatureSet,
    text: FeatureSet,
    layers: dict[str, str],
    rows: Pairs,
    options: TrainingOptions,
    memory: int | None,
    on_event: Listener,
) -> tuple[SelectedRows, SelectedRows] | None:
    """Rows read on demand where both layers do not fit the budget; None where they do.

    Raises StructureError for a method that needs all rows at once.
    """
    columns = vision.manifest.column(layers["vision"]), text.manifest.column(layers["text"])
    needed = len(rows) * sum(column.row_bytes for column in columns)
    if memory is None or needed <= memory:
        return None
    if options.method in STREAMED and not (options.method == "csa" and options.regulariser == "structure"):
        on_event(Note(f"{needed:,} bytes of features are read in passes: --memory allows {memory:,}"))
        return (
            SelectedRows(vision, layers["vision"], rows.vision, memory),
            SelectedRows(text, layers["text"], rows.text, memory),
        )
    raise StructureError(
        f"The layers {layers['vision']} and {layers['text']} of {len(rows):,} pairs take {needed:,} bytes; --memory "
        f"allows {memory:,}. Raise --memory, take fewer --pairs, or a method that reads in passes: "
        f"{', '.join(STREAMED)}."
    )


def _keep(store: Store, name: str, aligner: Aligner, trained: Trained, on_event: Listener) -> Files:
    """Write the aligner's files. Its record goes first and comes last: a killed run leaves nothing that looks whole."""
    folder = store.folder("aligners", name)
    if folder.exists(RECORD):
        on_event(Note(f"the aligner {name} was there and is replaced"))
        folder.remove(RECORD)
    folder.remove_tree("")
    if trained.history:
        write_table(folder, "history.parquet", pa.Table.from_pylist(trained.history))
    if trained.curve is not None:
        curve = pa.table({"rate": trained.curve.rates, "loss": trained.curve.losses})
        write_table(folder, "learning_rate.parquet", curve)
    folder.write(CARD, card(aligner, name).encode())
    aligner.save(folder)
    return folder
