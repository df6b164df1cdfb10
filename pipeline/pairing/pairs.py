"""Which vision row belongs to which text row: one pair for every sample that both encoders have read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from shlex import quote

import numpy as np

from structure.pipeline.datasets.dataset import PROMPTS
from structure.pipeline.pairing.require_two_sides import require_two_sides
from structure.store import FeatureSet, Samples, Store
from structure.store.errors import StructureError, unknown


@dataclass(frozen=True)
class PairedRows:
    """Row numbers into a vision and a text feature set: `vision[i]` and `text[i]` describe the sample `items[i]`.

    All three are (n,) int64, in dataset order. `skipped` counts samples left out because one side could not be read,
    `withdrawn` those of them that were withdrawn.
    """

    vision: np.ndarray
    text: np.ndarray
    items: np.ndarray
    skipped: int
    withdrawn: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def subset(self, count: int, *, seed: int) -> PairedRows:
        """`count` pairs drawn without replacement, in dataset order; all of them if there are not more."""
        return self if count >= len(self) else self.take(self.drawn(count, seed=seed))

    def drawn(self, count: int, *, seed: int) -> np.ndarray:
        """(count,) int64 ascending: the numbers of the pairs of a `subset`."""
        return np.sort(np.random.default_rng(seed).permutation(len(self))[:count])

    def take(self, chosen: np.ndarray) -> PairedRows:
        """The pairs with these numbers."""
        return replace(self, vision=self.vision[chosen], text=self.text[chosen], items=self.items[chosen])

    def left_out(self) -> str:
        """A sentence on the samples that take no part; "" for none."""
        told = {"one side could not be read": self.skipped - self.withdrawn, "withdrawn": self.withdrawn}
        parts = [f"{count:,} samples are left out: {why}." for why, count in told.items() if count]
        return " ".join(parts)


def pair_rows(store: Store, vision: FeatureSet, text: FeatureSet) -> PairedRows:
    """One pair a sample: its row on the first side and its first caption's row on the second.

    Either side may be of either modality (vision-vision and text-text ranking pair samples the same way). Raises
    StructureError where the two sets are not of one dataset split.
    """
    ours, theirs = vision.manifest, text.manifest
    if (ours.dataset, ours.split) != (theirs.dataset, theirs.split):
        raise StructureError(
            f"{vision.key} and {text.key} are features of different data: their rows are not pairs. "
            "Extract both encoders from the same --dataset and --split."
        )
    samples = store.samples(ours.dataset, ours.split)
    first, second = _rows_of_items(samples, vision), _rows_of_items(samples, text)
    both = np.flatnonzero((first >= 0) & (second >= 0))
    withdrawn = int(samples.is_withdrawn.sum())
    return PairedRows(first[both], second[both], both, len(samples) - len(both), withdrawn)


def _rows_of_items(samples: Samples, features: FeatureSet) -> np.ndarray:
    """(samples,) the feature row of each sample, -1 where it has none or it was skipped."""
    if features.manifest.rows_of == "items":
        first = np.arange(len(samples)) * features.manifest.views  # of several views the plain image
        rows = np.where(first < len(features), first, -1)
    else:
        of_caption = samples.item_of_caption(features.manifest.captions)[: len(features)]
        rows = np.full(len(samples), -1, dtype=np.int64)
        rows[of_caption[::-1]] = np.arange(len(of_caption))[::-1]  # the first caption of a sample wins
    return np.where((rows >= 0) & features.valid[rows] & ~samples.is_withdrawn, rows, -1)


def choose_sets(
    store: Store,
    *,
    dataset: str | None,
    split: str | None,
    vision: str | None,
    text: str | None,
    several: bool = False,
    one_modality: bool = False,
    instead: str = "",
) -> tuple[FeatureSet, FeatureSet]:
    """The one vision (or audio) and the one text feature set that a command means; under `one_modality` two of one too.

    Of a set with one row a sample (the plain image, the first caption) and one with several, `several` says which is
    meant where neither is named. `instead` adds to the error what else the command can do with several sets.

    Names that are not given are settled by what is there; if that leaves several, or a side is missing, the error
    lists what is there and the option that settles it. Raises StructureError, too, as `require_two_sides` does.
    """
    sets = store.feature_sets(dataset=dataset, split=split, without_kind=PROMPTS)
    if not sets:
        raise no_features(store, dataset, split)
    first, second = _sides(sets, vision=vision, text=text)
    chosen = [("--vision", vision, "vision", first), ("--text", text, "text", second)]
    places = [{(s.manifest.dataset, s.manifest.split) for s in matching} for *_, matching in chosen]
    common = places[0] & places[1]
    if len(common) > 1 and ("train" in {split for _, split in common}) and split is None:
        train = {place for place in common if place[1] == "train"}
        common = train if len(train) == 1 else common
    picked = []
    for option, name, modality, matching in chosen:
        here = [s for s in matching if (s.manifest.dataset, s.manifest.split) in common] or matching
        if len(here) > 1 and not name:
            meant = [s for s in here if has_several(s) == several]
            here = meant if len(meant) == 1 else here
        if name and not here:
            raise unknown(
                "features",
                name,
                dict.fromkeys(s.manifest.encoder for s in sets),
                hint=f"These are in {store.url}.",
            )
        if len(here) != 1:
            listed = ", ".join(s.key for s in (here or sets))
            what = f"are {len(here)} {modality} feature sets" if here else f"is no {modality} feature set"
            settle = (
                f"Choose with --dataset, --split or {option}{instead}"
                if here
                else (f"Run: structure extract --model <{modality} encoder> --dataset {sets[0].manifest.dataset}")
            )
            raise StructureError(f"There {what} to use in {store.url} ({listed}). {settle}.{_alike(sets)}")
        picked.append(here[0])
    require_two_sides(picked[0], picked[1], one_modality=one_modality)
    return picked[0], picked[1]


def _sides(
    sets: Sequence[FeatureSet], *, vision: str | None, text: str | None
) -> tuple[list[FeatureSet], list[FeatureSet]]:
    """The sets that the first side ("vision") and the second ("text") may be. Unnamed, the first is vision or audio, or
    else what is no text; the second is text, or else, of two modalities, the other one."""
    others = [each for each in sets if each.modality != "text"]
    usual = [each for each in others if each.modality in ("vision", "audio")]
    first = [each for each in sets if each.manifest.encoder == vision] if vision else usual or others
    if text:
        return first, [each for each in sets if each.manifest.encoder == text]
    if len(others) < len(sets):
        return first, [each for each in sets if each.modality == "text"]
    if not vision and len({each.modality for each in others}) == 2:  # in the order of their names, vision before others
        taken = min(first, key=lambda each: each.modality).modality
        first = [each for each in first if each.modality == taken]
    taken_by = {each.modality for each in first}
    return first, [each for each in others if each.modality not in taken_by]


def no_features(store: Store, dataset: str | None, split: str | None) -> StructureError:
    """The store has no features of what is named, or none at all."""
    sets = store.feature_sets(without_kind=PROMPTS)
    if not sets:
        return StructureError(
            f"The store {store.url} has no features. "
            "Run: structure extract --model <vision> --model <text> --dataset <dataset>"
        )
    named = {"dataset": dataset, "split": split}
    asked = ", ".join(f"the {noun} {value}" for noun, value in named.items() if value)
    there = dict.fromkeys(f"{s.manifest.dataset}/{s.manifest.split}" for s in sets)
    name, _, part = (dataset or "").rpartition("/")
    apart = f" Name the two apart: --dataset {quote(name)} --split {quote(part)}." if dataset in there else ""
    told = f"The store {store.url} has no features of {asked}; it has those of {', '.join(there)}."
    return StructureError(told + apart)


def _alike(sets: Sequence[FeatureSet]) -> str:
    """What two encoders of one modality need, where the store has no other: to be named as the two sides."""
    names = list(dict.fromkeys(s.manifest.encoder for s in sets))
    if len(names) < 2 or len({s.modality == "text" for s in sets}) > 1:
        return ""
    return f" To compare two of one modality with each other: --vision {names[0]} --text {names[1]}."


def has_several(features: FeatureSet) -> bool:
    """Whether a sample may have several rows: views of an image, or captions."""
    manifest = features.manifest
    return manifest.views > 1 or (manifest.rows_of == "captions" and manifest.captions != 1)


def choose_models(
    store: Store,
    *,
    dataset: str | None,
    split: str | None,
    vision: Sequence[str],
    text: Sequence[str],
    between: str,
) -> tuple[list[list[FeatureSet]], list[tuple[FeatureSet, FeatureSet]]]:
    """The feature sets of both sides of `between` ("vision-text", ...), and every two that meet; two models of one
    modality meet once. Raises as `choose_many` does, and where a model has nothing to meet."""
    ours, theirs = between.split("-")
    named = {"vision": vision, "text": text}
    sides = choose_many(store, dataset=dataset, split=split, sides=[(side, named[side]) for side in (ours, theirs)])
    first, second = sides
    meeting = list(combinations(first, 2) if ours == theirs else product(first, second))
    if not meeting:
        raise StructureError(
            f"{sides[0][0].key} is the only {ours} feature set there: it has nothing to be compared with. "
            f"Extract another encoder over {sides[0][0].manifest.dataset}."
        )
    return sides, meeting


def choose_many(
    store: Store, *, dataset: str | None, split: str | None, sides: Sequence[tuple[str, Sequence[str]]]
) -> list[list[FeatureSet]]:
    """For each (modality, encoder names) the feature sets of one dataset split; no name means all of the modality, of
    views and captions those with one row a sample.

    Raises StructureError for a name that is not there, a side without features, or several datasets to choose from.
    """
    sets = store.feature_sets(dataset=dataset, split=split, without_kind=PROMPTS)
    wanted = {modality for modality, _ in sides}
    if not sets:
        raise no_features(store, dataset, split)
    places: dict[tuple[str, str], list[FeatureSet]] = {}
    for features in sets:
        places.setdefault((features.manifest.dataset, features.manifest.split), []).append(features)
    whole = {place: here for place, here in places.items() if wanted <= {s.modality for s in here}}
    if split is None and sum(name == "train" for _, name in whole) == 1:
        whole = {place: here for place, here in whole.items() if place[1] == "train"}
    if len(whole) != 1:
        listed = ", ".join("/".join(place) for place in (whole or places)) or "nothing"
        what, settle = (
            ("several dataset splits have", "Choose with --dataset and --split.")
            if whole
            else ("no dataset split has", "Run: structure extract --model <encoder> --dataset <dataset>")
        )
        if not whole and len(wanted) > 1:
            settle += ". Two models of one modality: --between vision-vision or text-text"
        raise StructureError(f"In {store.url} {what} {' and '.join(sorted(wanted))} features ({listed}). {settle}")
    ((_, here),) = whole.items()
    chosen = []
    for modality, names in sides:
        matching = {s.manifest.encoder: s for s in here if s.modality == modality}
        for name in names:
            if name not in matching:
                raise unknown(f"{modality} features", name, matching, hint=f"The store is {store.url}.")
        usual = [features for features in matching.values() if not has_several(features)]
        chosen.append([matching[name] for name in dict.fromkeys(names)] if names else usual or list(matching.values()))
    return chosen
