"""Features of samples without a partner: rows of feature sets of the encoders that are aligned, none of which the pairs
hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.pairing.content_keys import Keys, content_of_rows, content_of_samples, rows_there
from structure.pipeline.progress import Listener, Note, silent
from structure.store import FeatureSet, Store
from structure.store.errors import StructureError
from structure.store.fingerprint import differences
from structure.store.joined_rows import has_layers, layer_rows, row_bytes

if TYPE_CHECKING:
    from structure.pipeline.aligners.unpaired import Unpaired


class NoneUnpairedError(StructureError):
    """All rows that the names mean have the content of a pair."""


@dataclass(frozen=True)
class FreeRows:
    """Rows of a feature set, ascending numbers, with the keys of what each was computed from."""

    features: FeatureSet
    rows: np.ndarray
    keys: list[Keys]

    def where(self, stays: Sequence[bool]) -> FreeRows:
        """Those of the rows that stay."""
        kept = np.asarray(stays, dtype=bool)
        return FreeRows(
            self.features, self.rows[kept], [each for each, one in zip(self.keys, stays, strict=True) if one]
        )


Free = tuple[list[FreeRows], list[FreeRows]]
"""The rows of each side that are of no pair."""


@dataclass(frozen=True)
class UnpairedSource:
    """The named feature sets of two encoders, whose layers are read; `sets` are those whose rows pair.

    A name is `DATASET`, `DATASET/SPLIT` or `DATASET/SPLIT/ENCODER`; sets of other encoders are not meant.
    """

    store: Store
    names: Sequence[str]
    sets: tuple[FeatureSet, FeatureSet]
    layers: tuple[str, str]

    def read(self, free: Free) -> Unpaired:
        """Rows of `disjoint` in memory, None for a side that no name is of."""
        from structure.pipeline.aligners.unpaired import Unpaired

        sides: list[Any] = []
        for layer, parts in zip(self.layers, free, strict=True):
            read = [np.asarray(layer_rows(part.features, layer, part.rows)[:]) for part in parts]
            sides.append(np.concatenate(read) if read else None)
        return Unpaired(*sides)

    def require_memory(self, memory: int | None, *, copies: int, halved: bool) -> None:
        """Raises StructureError where the rows that the names mean, held `copies` times, take more than `memory` bytes
        (None: no bound); nothing is read. `halved`: of a sample that is on both sides one is taken."""
        if memory is None:
            return
        sizes = (
            len(features) * row_bytes(features, layer)
            for side, layer in enumerate(self.layers)
            for features in self._named(side)
        )
        needed = sum(sizes) * copies // (2 if halved else 1)
        if needed > memory:
            raise StructureError(
                f"The rows of --unpaired {' '.join(self.names)} take about {needed:,} bytes at once; --memory "
                f"allows {memory:,}. Raise --memory, or name a split with fewer rows: --unpaired DATASET/SPLIT."
            )

    def disjoint(self, paired: np.ndarray, *, halves: int | None = None, on_event: Listener = silent) -> Free:
        """The rows of each side that are of no `paired` sample: numbers of the samples of all pairs, those of
        validation and test among them. A row is left out if it is of such a sample, or has the image (by its digest) or
        the text of one, which is told.

        With `halves`, a seed, no sample is on both sides: of those that are, one half gives its images and the other
        its texts. Raises StructureError where a name means no set of either encoder or one that lacks the layer, and
        NoneUnpairedError where nothing is left.
        """
        if not self.names:
            return [], []
        taken = content_of_samples(self.store, self.sets[0], paired)
        left: list[list[FreeRows]] = []
        out = []
        for side, what in enumerate(("vision", "text")):
            there = [self._rows_of(features) for features in self._named(side)]
            free = [part.where([taken.isdisjoint(each) for each in part.keys]) for part in there]
            count = sum(len(part.rows) for part in there)
            out.append(count - sum(len(part.rows) for part in free))
            if there and out[side] == count:
                raise NoneUnpairedError(
                    f"--unpaired {' '.join(self.names)}: all {count:,} {what} rows have the content of the "
                    f"{len(paired):,} training, validation and test pairs: none is unpaired. Take fewer --pairs, or "
                    "name features of other data."
                )
            left.append(free)
        if any(out):
            on_event(
                Note(
                    f"{out[0]:,} vision and {out[1]:,} text rows of --unpaired are left out: the training, validation "
                    "or test pairs have their content"
                )
            )
        if halves is not None:
            left = _halved(left, halves, on_event)
        return left[0], left[1]

    def _rows_of(self, features: FeatureSet) -> FreeRows:
        rows = rows_there(self.store, features)
        return FreeRows(features, rows, content_of_rows(self.store, features, rows))

    def _named(self, side: int) -> list[FeatureSet]:
        """The feature sets of a side's encoder that the names mean, each once."""
        found: dict[str, FeatureSet] = {}
        for name in self.names:
            named = named_sets(self.store, [name])
            if not any(_same_encoder(features, one) for features in named for one in self.sets):
                there = self.store.feature_sets()
                listed = ", ".join(f.key for f in there if any(_same_encoder(f, one) for one in self.sets))
                raise StructureError(
                    f"--unpaired {name}: the store has no features of {self.sets[0].manifest.encoder} or "
                    f"{self.sets[1].manifest.encoder} under that name. Of these encoders it has {listed}."
                )
            if not any(_same_encoder(features, self.sets[side]) for features in named):
                self._refuse_namesakes(name, named, side)
            for features in named:
                if not _same_encoder(features, self.sets[side]):
                    continue
                if not has_layers(features, self.layers[side]) or not features.is_complete:
                    raise StructureError(
                        f"--unpaired {name}: {features.key} has no complete layer {self.layers[side]} "
                        f"({features.state}). Extract it with the same --layers."
                    )
                found.setdefault(features.key, features)
        return list(found.values())

    def _refuse_namesakes(self, name: str, named: Sequence[FeatureSet], side: int) -> None:
        """Raises StructureError where the only features of a side under a name are of another encoder of its name: they
        would be left out without a word."""
        own = self.sets[side]
        for features in named:
            if (features.manifest.encoder, features.modality) == (own.manifest.encoder, own.modality):
                there, here = features.manifest.identity["encoder"], own.manifest.identity["encoder"]
                told = "; ".join(
                    f"{path}: {one!r} there, {two!r} here" for path, one, two in differences(there, here)[:3]
                )
                raise StructureError(
                    f"--unpaired {name}: {features.key} and {own.key} are of two encoders with one name ({told}); its "
                    "rows do not fit the head. Make it with the same encoder, or name other features."
                )


def named_sets(store: Store, names: Sequence[str]) -> list[FeatureSet]:
    """The feature sets that the names mean, of any encoder."""
    there = store.feature_sets() if names else []
    return [features for features in there if any(f"{features.key}/".startswith(f"{name}/") for name in names)]


def _halved(sides: list[list[FreeRows]], seed: int, on_event: Listener) -> list[list[FreeRows]]:
    """The same rows less, of every sample that is on both sides, those of one side."""
    first, second = (dict.fromkeys(keys[0] for part in side for keys in part.keys) for side in sides)
    both = [sample for sample in first if sample in second]
    if not both:
        return sides
    order = np.random.default_rng(seed).permutation(len(both)).tolist()
    of_vision = {both[number] for number in order[: (len(both) + 1) // 2]}
    of_text = set(both) - of_vision
    on_event(
        Note(
            f"{len(both):,} samples of --unpaired have both sides: the images of {len(of_vision):,} of them are taken, "
            f"and the texts of the other {len(of_text):,}"
        )
    )
    return [
        [part.where([keys[0] not in gone for keys in part.keys]) for part in side]
        for side, gone in zip(sides, (of_text, of_vision), strict=True)
    ]


def _same_encoder(features: FeatureSet, other: FeatureSet) -> bool:
    mine, theirs = features.manifest, other.manifest
    return mine.modality == theirs.modality and not differences(mine.identity["encoder"], theirs.identity["encoder"])
