"""Which images or texts are searched: feature sets of the aligner's encoder in the store, or data encoded now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from structure.pipeline.datasets.dataset import PROMPTS
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.registry import DATASET_KINDS
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.extraction.command_to_repeat import command_to_repeat
from structure.pipeline.extraction.sample_index import SampleIndex, open_rows
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, FeatureSource
from structure.pipeline.inference.aligned_embeddings import AlignedEmbeddings, Side
from structure.pipeline.inference.embedding_records import prefix_of
from structure.pipeline.inference.gallery import GallerySplit, SplitGallery
from structure.pipeline.inference.image_folder import read_folder
from structure.pipeline.run_context import RunContext
from structure.pipeline.work_estimate import WorkEstimate, require_space
from structure.store import FeatureSet, Samples, Store
from structure.store.column_layout import tokens_path
from structure.store.errors import StructureError, UsageError, unknown
from structure.store.fingerprint import differences
from structure.store.withdrawn import withdrawn_rows


@dataclass(frozen=True)
class GalleryChoice:
    """What to search: a `dataset` of the store or of any kind, one `split` of it (all by default), or a `folder` of
    images. None of them: the dataset of the store that the aligner's encoder has read."""

    dataset: str | None = None
    split: str | None = None
    folder: str | Path | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and (self.dataset is not None or self.split is not None):
            raise UsageError("--images names a folder, --dataset and --split what is searched instead. Name one.")


def chosen_data(store: Store, data: str | Path, split: str | None = None) -> GalleryChoice:
    """What `data` names: a dataset of the store, else a folder of images, else a dataset of any kind."""
    text = str(data)
    if text not in store.files.children("features") and Path(text).expanduser().is_dir():
        if split is not None:
            raise UsageError(f"{text} is a folder of images, which has no splits. Leave out --split {split}.")
        return GalleryChoice(folder=Path(text).expanduser())
    return GalleryChoice(dataset=text, split=split)


@dataclass(frozen=True)
class _GalleryPart:
    """One split of what is searched: its rows, their features (None: the encoder has to read them), and which of its
    samples are there now, (samples,) bool (None: all)."""

    index: SampleIndex
    features: FeatureSet | None
    current: np.ndarray | None = None


class GallerySource:
    """Opens galleries for one aligner. `features.passes` counts how often an encoder had to run over data. Without
    `save`, for a plan, no sample table is written."""

    def __init__(self, context: RunContext, subject: EvaluatedAligner, *, save: bool = True) -> None:
        self.context, self.subject, self.save = context, subject, save and context.store.files.writable
        self.features = FeatureSource(context, append=True)

    def open(self, choice: GalleryChoice, side: Side) -> SplitGallery:
        """The aligned embeddings of the images ("vision") or texts ("text") that are chosen.

        Nothing is encoded that is in the store. Raises StructureError, offering what is there, for a dataset that is
        neither in the store nor of any kind, and NotPresentError for data or an encoder that are not here.
        """
        return self._gallery(side, [self._with_features(side, part) for part in self._parts(choice, side)])

    def open_stored(self, choice: GalleryChoice, side: Side) -> SplitGallery | None:
        """The same if the features of every split are in the store; None where an encoder would have to run."""
        parts = list(self._parts(choice, side))
        return None if any(part.features is None for part in parts) else self._gallery(side, parts)

    def ahead(self, choice: GalleryChoice, side: Side) -> Iterator[WorkEstimate]:
        """What `open` would have to encode and to align, split by split; nothing is written. Raises as it does."""
        for part in self._parts(choice, side):
            if part.features is not None:
                yield WorkEstimate(f"{part.features.key} (rows)", len(part.features), 0, 0, 0, 0.0)
                yield AlignedEmbeddings(self.context, self.subject, side, part.features).ahead()
                continue
            captions, tokens = self._asked(side)
            encoding = self.features.ahead(self._record(side), part.index, captions=captions, tokens=tokens)
            yield encoding
            size = encoding.rows * self.subject.aligner.dim * 2
            where = prefix_of(self.subject.name, encoding.what)
            yield WorkEstimate(where, encoding.rows, encoding.rows, size, 0, None)

    def plan(self, choice: GalleryChoice, *sides: Side) -> tuple[WorkEstimate, ...]:
        """`ahead` of these sides. Raises StructureError too where the disk of the store cannot hold it."""
        parts = tuple(part for side in sides for part in self.ahead(choice, side))
        require_space(self.context.store, parts)
        return parts

    def _gallery(self, side: Side, parts: Iterable[_GalleryPart]) -> SplitGallery:
        splits = []
        for part in parts:
            assert part.features is not None
            aligned = AlignedEmbeddings(self.context, self.subject, side, part.features)
            usable = part.features.valid
            if part.current is not None:
                usable = usable & part.current[: len(part.features)]
            withdrawn = withdrawn_rows(part.features, part.index.samples)
            if len(withdrawn):
                usable[withdrawn] = False
                self.context.note(f"{part.features.key}: {len(withdrawn):,} rows of withdrawn samples are not searched")
            splits.append(GallerySplit(part.index, aligned, usable))
        return SplitGallery(splits, dim=self.subject.aligner.dim)

    def _parts(self, choice: GalleryChoice, side: Side) -> Iterator[_GalleryPart]:
        if choice.folder is not None:
            index, current = read_folder(self.context, choice.folder, save=self.save)
            yield _GalleryPart(index, self._found(side, index), current)
            return
        store = self.context.store
        dataset = choice.dataset if choice.dataset is not None else self._default(side)
        splits = _splits(store, dataset)
        if not splits:
            yield self._opened(choice, side)
            return
        if choice.split is not None and choice.split not in splits:
            raise unknown("split", choice.split, splits, hint=f"These splits of {dataset} are in {store.url}.")
        stored = self._stored(side, dataset)
        chosen = [choice.split] if choice.split is not None else [split for split in splits if split in stored]
        for split in chosen or splits:
            index = SampleIndex(store.samples(dataset, split), None, "")
            features = stored.get(split)
            if features is None or self._lacks_tokens(side, features):
                index = self._with_data(index, side)
                yield _GalleryPart(index, self._found(side, index))
            else:
                yield _GalleryPart(index, features)

    def _default(self, side: Side) -> str:
        """The dataset that is meant where none is named: the only one, or the one that the aligner was trained on."""
        store, record = self.context.store, self._record(side)
        there = sorted({features.manifest.dataset for features in stored_sets(store, record)})
        if not there:
            what = "images" if side == "vision" else "texts"
            raise StructureError(
                f"{store.url} has no features of {what} by {record.name}, the encoder of the aligner "
                f"{self.subject.name}. Name what to search: --dataset D, or --images DIR with images."
            )
        own = self.subject.aligner.metadata.get("data", {}).get("dataset")
        if len(there) > 1 and own not in there:
            raise UsageError(f"{store.url} has several datasets. Name one: --dataset {' or --dataset '.join(there)}")
        chosen = own if own in there else there[0]
        if len(there) > 1:
            others = ", ".join(name for name in there if name != chosen)
            self.context.note(f"searching {chosen}, on which the aligner was trained; also in the store: {others}")
        return str(chosen)

    def _stored(self, side: Side, dataset: str) -> dict[str, FeatureSet]:
        """Split -> the complete features of this aligner's encoder; of several the one with most captions."""
        found: dict[str, FeatureSet] = {}
        for features in stored_sets(self.context.store, self._record(side), dataset):
            split = features.manifest.split
            if split not in found or len(features) > len(found[split]):
                found[split] = features
        return found

    def _opened(self, choice: GalleryChoice, side: Side) -> _GalleryPart:
        """A dataset that is not in the store under this name."""
        spec, store = choice.dataset or "", self.context.store
        if ":" not in spec and spec not in DATASET_KINDS:
            known = [*store.files.children("features"), *DATASET_KINDS]
            is_folder = f" There is a folder of that name: --images {spec}" if Path(spec).is_dir() else ""
            raise unknown("dataset", spec, known, hint=f"The store is {store.url}.{is_folder}")
        dataset = open_dataset(spec, split=choice.split, data_root=self.context.data_root)
        stored = self._stored(side, dataset.name).get(dataset.split)
        if stored is not None and not self._lacks_tokens(side, stored):
            samples = store.samples(dataset.name, dataset.split)
            if len(dataset) > len(samples):
                self.context.note(
                    f"{spec} has {len(dataset):,} samples and {len(samples):,} are in the store: the new ones are not "
                    f"searched. Take them in: {command_to_repeat(stored, append=True)}"
                )
            return _GalleryPart(SampleIndex(samples, dataset, spec), stored)
        index = open_rows(self.context, spec, split=choice.split, save=self.save)
        return _GalleryPart(index, self._found(side, index))

    def _with_data(self, index: SampleIndex, side: Side) -> SampleIndex:
        """The same rows with their images, where the dataset is on this machine; texts need none."""
        if side == "text":
            return index
        samples = index.samples
        for features in self.context.store.feature_sets(dataset=samples.dataset, split=samples.split):
            spec = (features.manifest.provenance or {}).get("dataset_spec")
            if spec:
                return open_rows(self.context, spec, split=samples.split, save=self.save)
        return index

    def _found(self, side: Side, index: SampleIndex) -> FeatureSet | None:
        """Complete features of these rows, of whatever split."""
        captions, _ = self._asked(side)
        features = self.features.find(self._record(side), index.samples, captions=captions)
        return None if features is None or self._lacks_tokens(side, features) else features

    def _with_features(self, side: Side, part: _GalleryPart) -> _GalleryPart:
        """The part with its features, extracted now where they are not in the store."""
        if part.features is not None:
            return part
        captions, tokens = self._asked(side)
        features = self.features.features(self._record(side), part.index, captions=captions, tokens=tokens)
        return replace(part, features=features)

    def _asked(self, side: Side) -> tuple[int | None, tuple[str, ...]]:
        """Captions of a sample, and the layers with tokens, that are extracted where features are not there."""
        return (None if side == "text" else 1), self.subject.tokens(side)

    def _lacks_tokens(self, side: Side, features: FeatureSet) -> bool:
        paths = {tokens_path(layer) for layer in self.subject.tokens(side)}
        lacking = {path for paths_ in features.pending().values() for path in paths_}
        return not paths <= set(features.manifest.paths) - lacking

    def _record(self, side: Side) -> EncoderRecord:
        return self.subject.vision if side == "vision" else self.subject.text


def stored_sets(store: Store, record: EncoderRecord, dataset: str | None = None) -> list[FeatureSet]:
    """The complete feature sets of the store that this encoder made with these options; those of prompts are not."""
    return [
        features
        for features in store.feature_sets(dataset=dataset, without_kind=PROMPTS)
        if features.manifest.views == 1
        and not differences(features.manifest.identity["encoder"], record.identity)
        and not differences(features.manifest.identity["extraction"], record.extraction)
        and features.is_complete
    ]


def _splits(store: Store, dataset: str) -> list[str]:
    """The splits of a dataset that have features, those of prompts left out."""
    if dataset not in store.files.children("features"):
        return []
    return [
        split
        for split in store.files.children(f"features/{dataset}")
        if Samples.kind_of(store.files, dataset, split) not in ("", PROMPTS)
    ]
