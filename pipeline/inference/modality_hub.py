"""Several modalities around one: pairwise aligners that have a modality in common, the hub, and ways from any to any.

A modality is a name on feature sets. Each aligner brings one modality and the hub into a space of their own; nothing is
trained for two modalities that are no hub. From one to another leads the hub: a query is compared with the hub's rows
in the first space, and what they are in the second space, weighed by these scores, is the query there. Where both
aligners have the same head for the hub (`ridge` maps onto its rows), the two spaces are one, and nothing is carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.inference.aligned_embeddings import Side
from structure.pipeline.inference.gallery import SplitGallery
from structure.pipeline.inference.gallery_sources import GalleryChoice, GallerySource
from structure.pipeline.run_context import RunContext
from structure.store.errors import StructureError, UsageError, unknown

TEMPERATURE = 0.1
"""Of the softmax over the hub's rows (chosen on the val icons of `tests/benchmarks/hub.py`)."""
QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Spoke:
    """One side of an aligner."""

    subject: EvaluatedAligner
    side: Side

    @property
    def modality(self) -> str:
        return (self.subject.vision if self.side == "vision" else self.subject.text).modality

    @property
    def other(self) -> Spoke:
        """The other side of the same aligner."""
        return Spoke(self.subject, "text" if self.side == "vision" else "vision")


class ModalityHub:
    """Pairwise `subjects` with the modality `name` in common. Raises UsageError where one lacks it, or two bring the
    same other modality."""

    def __init__(self, context: RunContext, subjects: Sequence[EvaluatedAligner], name: str) -> None:
        self.context, self.name, self.temperature = context, name, TEMPERATURE
        self.spokes: dict[str, Spoke] = {}
        for subject in subjects:
            first, second = Spoke(subject, "vision"), Spoke(subject, "text")
            if name not in (first.modality, second.modality):
                raise UsageError(
                    f"The aligner {subject.name} brings {first.modality} and {second.modality} together, and the hub "
                    f"is {name}, which all aligners of a hub have in common. Name what they share: --hub-modality"
                )
            spoke = first if second.modality == name else second
            if spoke.modality in self.spokes:
                raise UsageError(
                    f"The aligners {self.spokes[spoke.modality].subject.name} and {subject.name} both bring "
                    f"{spoke.modality} to the hub. Name one of them."
                )
            self.spokes[spoke.modality] = spoke
        self._galleries: dict[tuple[str, Side, GalleryChoice], SplitGallery] = {}

    @property
    def modalities(self) -> list[str]:
        """All of them, the hub first."""
        return [self.name, *self.spokes]

    def target(self, to: str, origin: str) -> Spoke:
        """What is searched for `to` by queries of `origin`: with the hub on either end, one aligner does it alone."""
        for modality in (to, origin):
            if modality not in self.modalities:
                raise unknown("modality", modality, self.modalities, hint="These are those of the aligners of the hub.")
        if to != self.name:
            return self.spokes[to]
        return (self.spokes[origin] if origin != self.name else next(iter(self.spokes.values()))).other

    def source(self, origin: str, target: Spoke) -> Spoke:
        """The side that embeds a query of `origin`: in the space of the target where that is possible."""
        sides = (target, target.other)
        return next((side for side in sides if side.modality == origin), None) or self.spokes[origin]

    def gallery(self, spoke: Spoke, choice: GalleryChoice) -> SplitGallery:
        """The aligned embeddings of one side of an aligner; opened once."""
        key = (spoke.subject.name, spoke.side, choice)
        if key not in self._galleries:
            self._galleries[key] = GallerySource(self.context, spoke.subject).open(choice, spoke.side)
        return self._galleries[key]

    def carried(self, vectors: np.ndarray, origin: Spoke, target: Spoke) -> np.ndarray:
        """(n, dim of `target`) float32 unit rows: embeddings by the aligner of `origin` in the space of that of
        `target`."""
        if origin.subject.name == target.subject.name or self.shares_head(origin, target):
            return vectors
        first, second = self._bridge(origin, target)
        parts = []
        for start in range(0, len(vectors), QUERIES_AT_ONCE):
            scores = vectors[start : start + QUERIES_AT_ONCE] @ first.T / self.temperature
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            parts.append(weights @ second)
        whole = np.concatenate(parts)
        return np.asarray(whole / np.linalg.norm(whole, axis=1, keepdims=True).clip(1e-12), dtype=np.float32)

    def shares_head(self, origin: Spoke, target: Spoke) -> bool:
        """Whether both aligners put the hub's rows in the same places: one layer of one encoder through equal heads."""
        one, two = (spoke.other for spoke in (origin, target))
        if one.subject.layers[one.side] != two.subject.layers[two.side]:
            return False
        heads = [getattr(spoke.subject.aligner, spoke.side) for spoke in (one, two)]
        states = [head.state_dict() for head in heads]
        if heads[0].kind != heads[1].kind or states[0].keys() != states[1].keys():
            return False
        return all(torch.equal(states[0][name].cpu(), states[1][name].cpu()) for name in states[0])

    def _bridge(self, origin: Spoke, target: Spoke) -> tuple[np.ndarray, np.ndarray]:
        """(m, d1) and (m, d2) float32: the hub's rows that both aligners embed, of the data that the first was trained
        on, in both spaces."""
        data = origin.subject.aligner.metadata["data"]
        choice = GalleryChoice(dataset=data["dataset"], split=data["split"])
        found = [_Rows(self.gallery(spoke.other, choice)) for spoke in (origin, target)]
        common = [number for name, number in found[0].numbers.items() if name in found[1].numbers]
        if not common:
            raise StructureError(
                f"No row of {self.name} in {data['dataset']}/{data['split']} is embedded by both {origin.subject.name} "
                f"and {target.subject.name}: there is no way from one to the other. Train them on the same data."
            )
        names = list(found[0].numbers)
        places = [found[1].numbers[names[number]] for number in common]
        return found[0].values[common], found[1].values[places]


class _Rows:
    """The usable rows of a gallery by their ids."""

    def __init__(self, gallery: SplitGallery) -> None:
        self.gallery = gallery

    @cached_property
    def _read(self) -> tuple[list[str], np.ndarray]:
        names: list[str] = []
        parts = []
        for numbers, values in self.gallery.blocks():
            names += [split.row(row).id for split, row in map(self.gallery.locate, numbers.tolist())]
            parts.append(values.astype(np.float32))
        return names, np.concatenate(parts) if parts else np.empty((0, self.gallery.shape[1]), dtype=np.float32)

    @property
    def values(self) -> np.ndarray:
        return self._read[1]

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._read[0])}


def item_rows(gallery: SplitGallery, items: Sequence[str]) -> np.ndarray:
    """(items, dim) float32: the embedding of the first usable row of each sample. Raises StructureError for a sample
    that has none."""
    first: dict[str, int] = {}
    for row, (_, sample) in enumerate(gallery.samples()):
        if gallery.usable[row]:
            first.setdefault(sample, row)
    for item in items:
        if item not in first:
            raise unknown("sample", item, list(first), hint="An --item is a sample of what is searched.")
    rows = [gallery.pieces(first[item], first[item] + 1)[0][0] for item in items]
    return np.stack(rows).astype(np.float32)
