"""Pairs divided as the data say: by a column of the sample index, or by the split `val` beside the training one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from structure.pipeline.datasets.split_names import meaning, pick_split
from structure.pipeline.pairing.layer_pair import AlignedLayers
from structure.pipeline.pairing.pairs import PairedRows, pair_rows
from structure.pipeline.pairing.sample_groups import group_values
from structure.store import FeatureSet, Store
from structure.store.errors import StructureError, UsageError
from structure.store.fingerprint import differences, fingerprint

OWN = "split"
"""The column that a dataset's own splits were made by: its parts are splits of their own in the store."""


@dataclass(frozen=True)
class GivenSplit:
    """The pairs to train on, those that select the epoch (with the layers that they are read from, which may be of
    another split), and those that are the test, if any."""

    training: PairedRows
    validation: PairedRows
    layers: AlignedLayers
    test: PairedRows


def given_validation(sides: AlignedLayers, column: str | None) -> tuple[Any, Any] | None:
    """Both sides of the pairs that select the epoch, in memory; None without a column. Raises as `given_split` does."""
    given = given_split(sides, column)
    return None if given is None else given.layers.read(given.validation)


def split_identity(sides: AlignedLayers, column: str | None) -> dict[str, Any]:
    """What of a given split determines a training besides the training pairs, as JSON values; nothing without one."""
    given = given_split(sides, column)
    if given is None:
        return {}
    content = [features.content() for features, _ in (given.layers.vision, given.layers.text)]
    return {"validation": {"content": content, "rows": fingerprint({"rows": given.validation.items.tolist()})}}


def require_undivided(options: Mapping[str, Any]) -> None:
    """Raises UsageError where one of these options of a request, which divide the pairs or read them otherwise, is
    given."""
    for option, given in options.items():
        if given:
            raise UsageError(
                f"--split-column says which pairs train and which select the epoch of one method, in memory. Leave out "
                f"{option}" + (" and name the --method." if option == "--method auto" else ".")
            )


def given_split(sides: AlignedLayers, column: str | None) -> GivenSplit | None:
    """The pairs of two layers as the values of a column say: train, val and test, or other words for them; None without
    a column.

    With the column `split` all of them are for training, and the split `val` of the same data, which must be in the
    store too, selects. Raises StructureError for a column that is not there, other values, and too few pairs.
    """
    if column is None:
        return None
    rows = pair_rows(sides.store, sides.vision[0], sides.text[0])
    if sides.kind != "rows":
        raise StructureError(
            f"--split-column is of methods that read one vector a sample, and this reads {sides.kind}. Leave it out."
        )
    if column == OWN:
        others = tuple(_beside(sides.store, features) for features, _ in (sides.vision, sides.text))
        layers = replace(sides, vision=(others[0], sides.vision[1]), text=(others[1], sides.text[1]), cache=None)
        layers.require_complete()
        none = rows.take(np.zeros(0, dtype=np.int64))
        return _checked(GivenSplit(rows, pair_rows(sides.store, *others), layers, none), column)
    parts = _parts(sides, rows, column)
    taken = {part: rows.take(np.flatnonzero(parts == part)) for part in ("train", "val", "test")}
    return _checked(GivenSplit(taken["train"], taken["val"], sides, taken["test"]), column)


def _parts(sides: AlignedLayers, rows: PairedRows, column: str) -> np.ndarray:
    """(n,) which of the three parts each pair is in."""
    manifest = sides.vision[0].manifest
    samples = sides.store.samples(manifest.dataset, manifest.split)
    values = group_values(samples, rows.items, column, option="--split-column")
    classes = list(
        samples.tasks.get("label" if column == "label" else column.removeprefix("label."), {}).get("classes", ())
    )
    names = [classes[int(value)] if value is not None and classes else value for value in values]
    meant = [None if name is None else meaning(name.strip()) for name in names]
    strange = sorted({str(name) for name, part in zip(names, meant, strict=True) if part is None})
    if strange:
        raise StructureError(
            f"--split-column {column}: {strange[0]!r} is no name of a split; the values are train, val and test, or "
            "other words for them (training, valid, testing, ...)."
        )
    return np.array(meant, dtype=object)


def _beside(store: Store, features: FeatureSet) -> FeatureSet:
    """The features of the split `val` of the same data by the same encoder. Raises StructureError where there are
    none."""
    own = features.manifest
    there = {}
    for other in store.feature_sets(dataset=own.dataset):
        theirs = other.manifest
        alike = (theirs.modality, theirs.views, theirs.captions) == (own.modality, own.views, own.captions)
        if alike and not any(
            differences(own.identity[part], theirs.identity[part]) for part in ("encoder", "extraction")
        ):
            there[theirs.split] = other
    name = pick_split("val", there)
    if name is None or name == own.split:
        spec = (own.provenance or {}).get("spec") or own.encoder
        data = (own.provenance or {}).get("dataset_spec") or own.dataset
        raise StructureError(
            f"--split-column {OWN}: the store has no features of the split val of {own.dataset} by {own.encoder}; it "
            f"has those of {', '.join(sorted(there))}. Run: structure extract --model {shlex.quote(str(spec))} "
            f"--dataset {shlex.quote(str(data))} --split val"
        )
    return there[name]


def _checked(given: GivenSplit, column: str) -> GivenSplit:
    """Raises StructureError where a part is missing."""
    for what, part, least in (("training", given.training, 2), ("val", given.validation, 2)):
        if len(part) < least:
            raise StructureError(
                f"--split-column {column}: {len(part)} pairs are {what} pairs, and {least} are the least. There are "
                f"{len(given.training):,} train, {len(given.validation):,} val, {len(given.test):,} test."
            )
    return given
