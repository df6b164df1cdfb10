"""A ranking as it is saved in `rankings/<id>/`: the whole matrix, the choice and its reasons, charts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.owned_files import damaged, remove_unlisted
from structure.store import FeatureSet, Store
from structure.store.errors import StructureError
from structure.store.files import Files
from structure.store.seals import LISTED, Seal, SealError, digests, read_json, read_listed

if TYPE_CHECKING:
    import xarray as xr

    from structure.pipeline.charts import Draw
    from structure.pipeline.similarity.permutation_test import RankedScores

FILE, SCORES = "ranking.json", "scores.nc"


@dataclass(frozen=True)
class LayerSimilarity:
    """Scores of every (vision layer, text layer) and the choice made from them.

    `ranking` is the document of `structure rank-layers --json`; `folder` is where it is saved.
    """

    ranking: Mapping[str, Any]
    folder: Files

    @cached_property
    def scores(self) -> xr.DataArray:
        """The matrix over `vision_layer` and `text_layer`, float64, NaN where the metric is undefined, with `k`,
        `rows`, `preset` and `seed` as attributes."""
        import xarray as xr

        ranking = self.ranking
        return xr.DataArray(
            np.array(ranking["scores"], dtype=np.float64),  # null in JSON is NaN
            dims=("vision_layer", "text_layer"),
            coords={f"{side}_layer": ranking[side]["layers"] for side in ("vision", "text")},
            name=ranking["metric"],
            attrs={name: ranking[name] for name in ("k", "rows", "preset", "seed")},
        )

    def best(self) -> tuple[str, str]:
        """The chosen (vision layer, text layer)."""
        return self.ranking["best"]["vision_layer"], self.ranking["best"]["text_layer"]

    def describe(self, **facts: Any) -> LayerSimilarity:
        """The same with more in its document."""
        return replace(self, ranking={**self.ranking, **facts})

    def mark_newest(self, store: Store) -> None:
        """Make a saved ranking of the store the newest one, where the store can be written: the one that `align` goes
        by. Where it is, its file stays as it is, and with it every page that was made from it."""
        mine, every = self.folder.modified(FILE), store.folder("rankings").holding(FILE).values()
        if self.folder.writable and sum(written >= mine for written in every) > 1:
            self.folder.write(FILE, self.folder.read(FILE))

    def files(self, ranked: RankedScores, curve: np.ndarray | None, draw: Draw) -> dict[str, bytes]:
        """`scores.nc` (where there are, with null-adjusted scores as `calibrated`, p-values, null and the curve over k)
        and the charts as PNG, by name."""
        from structure.pipeline.similarity.charts import ranking_charts
        from structure.pipeline.similarity.scores_file import scores_file

        charts = ranking_charts(self.ranking)
        drawn = zip((f"{name}.png" for name in charts), draw(list(charts.values())), strict=True)
        return {SCORES: scores_file(self.ranking, ranked, curve), **dict(drawn)}

    def save(self, files: Mapping[str, bytes]) -> None:
        """Write its `files`, and last `ranking.json`, which lists them with their digests."""
        for name, data in files.items():
            self.folder.write(name, data)
        remove_unlisted(self.folder, FILE, files)
        seal = Seal.of(self.folder, FILE, str(self.ranking.get("made_from", "")))
        self.folder.write(FILE, seal.json({**self.ranking, LISTED: digests(files)}, indent=1))


def made_before(folder: Files, made_from: str) -> LayerSimilarity | None:
    """The ranking that is saved in a folder, if it was made from exactly this and all its files are as they were
    written; None otherwise, for it can be made again."""
    try:
        ranking = read_ranking(folder, FILE)
        if ranking["made_from"] != made_from:
            return None
        listed = ranking.pop(LISTED, None)
        for name in listed or ():
            read_listed(folder, name, listed)
    except (OSError, SealError, KeyError, TypeError, AttributeError):
        return None
    return LayerSimilarity(ranking, folder)


def read_ranking(folder: Files, name: str) -> dict[str, Any]:
    """The document of a ranking. Raises SealError where it is not what was written, or no ranking."""
    ranking = read_json(folder, name)
    try:
        _ = ranking["best"]["vision_layer"], ranking["best"]["text_layer"]
    except (KeyError, TypeError):
        raise SealError("does not read: it names no layers") from None
    return ranking


def ranking_id(vision: FeatureSet, text: FeatureSet, *, metric: str) -> str:
    """Folder name of a ranking of two feature sets."""
    ours, theirs = vision.manifest, text.manifest
    return f"{ours.dataset}.{ours.split}.{ours.encoder}.{theirs.encoder}.{metric}"


def best_layers(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[str, str, str]:
    """(vision layer, text layer, ranking id) of the newest ranking of exactly these two feature sets.

    Raises StructureError where there is none, with the command that makes one.
    """
    name, ranking = newest_ranking(store, vision, text)
    return ranking["best"]["vision_layer"], ranking["best"]["text_layer"], name


def first_layers(
    store: Store, vision: FeatureSet, text: FeatureSet, count: int | None
) -> tuple[list[tuple[str, str]], str]:
    """(the chosen layer pair and those that score highest besides, `count` together, None for all; ranking id), of the
    newest ranking of exactly these two feature sets. Raises as `best_layers` does."""
    name, ranking = newest_ranking(store, vision, text)
    scores = np.array(ranking["scores"], dtype=np.float64)
    order = np.unravel_index(np.argsort(-scores, axis=None, kind="stable"), scores.shape)
    ours, theirs = ranking["vision"]["layers"], ranking["text"]["layers"]
    best = (ranking["best"]["vision_layer"], ranking["best"]["text_layer"])
    pairs = dict.fromkeys([best, *((ours[one], theirs[other]) for one, other in zip(*order, strict=True))])
    return list(pairs)[:count], name


APART = 2
"""Layers between which one is left out: neighbours are nearly the same layer, and add nothing to each other."""


def second_layers(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[str | None, str | None]:
    """Of each side the layer that scores highest with any layer of the other side, of those that are `APART` or more
    from the chosen one; None where there is none. Of the newest ranking of exactly these two feature sets. Raises as
    `best_layers` does."""
    _, ranking = newest_ranking(store, vision, text)
    scores = np.array(ranking["scores"], dtype=np.float64)
    found: list[str | None] = []
    for side, axis in (("vision", 1), ("text", 0)):
        layers, constant = ranking[side]["layers"], ranking.get("constant", {}).get(side, [])
        chosen, highest = layers.index(ranking["best"][f"{side}_layer"]), np.nan_to_num(scores).max(axis=axis)
        order = np.argsort(-highest, kind="stable").tolist()
        far = (layers[at] for at in order if abs(at - chosen) >= APART and layers[at] not in constant)
        found.append(next(far, None))
    return found[0], found[1]


def newest_ranking(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[str, dict[str, Any]]:
    """(id, document) of the newest ranking of exactly these two feature sets. Raises as `best_layers` does."""
    matching: list[tuple[float, str, dict[str, Any]]] = []
    rankings = store.folder("rankings")
    _require_records(rankings, ranking_id(vision, text, metric=""))
    for name, written in rankings.holding(FILE).items():
        try:
            ranking = read_ranking(rankings, f"{name}/{FILE}")
            prints = ranking["vision"]["fingerprint"], ranking["text"]["fingerprint"]
        except (SealError, KeyError, TypeError) as error:
            raise damaged(rankings, f"{name}/{FILE}", _unread(error)) from None
        if prints == (vision.fingerprint, text.fingerprint):
            matching.append((written, name, ranking))
    if not matching:
        raise StructureError(
            f"No ranking of {vision.key} and {text.key} is in the store {store.url}, so --layers auto cannot choose. "
            f"Run: structure rank-layers --dataset {vision.manifest.dataset} --vision {vision.manifest.encoder} "
            f"--text {text.manifest.encoder}"
        )
    _, name, newest = max(matching, key=lambda entry: entry[:2])
    return name, newest


def _unread(error: Exception) -> SealError:
    return error if isinstance(error, SealError) else SealError(f"does not read: {error}")


def _require_records(rankings: Files, prefix: str) -> None:
    """Raises DamageError where the charts of a ranking whose id begins so are there without its record: it was lost, or
    the ranking was stopped, and another ranking would be taken for the newest."""
    there = rankings.holding(FILE)
    for name in rankings.holding(SCORES):
        if name.startswith(prefix) and name not in there:
            raise damaged(rankings, f"{name}/{FILE}", SealError("is missing, and its scores are there"))
