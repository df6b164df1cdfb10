"""A ranking as it is saved in `rankings/<id>/`: the whole matrix, the choice and its reasons, charts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.charts import png
from structure.pipeline.similarity.charts import ranking_charts
from structure.store import FeatureSet, Store
from structure.store.errors import DamageError, StructureError
from structure.store.files import Files

if TYPE_CHECKING:
    import xarray as xr

    from structure.pipeline.similarity.permutation_test import RankedScores

FILE, SCORES = "ranking.json", "scores.nc"


@dataclass(frozen=True)
class LayerSimilarity:
    """Scores of every (vision layer, text layer) and the choice made from them.

    `scores` is an `xarray.DataArray` over `vision_layer` and `text_layer` with `k`, `rows`, `preset` and `seed` as
    attributes; `ranking` the document of `structure rank-layers --json`; `folder` where both are saved.
    """

    scores: xr.DataArray
    ranking: Mapping[str, Any]
    folder: Files

    def best(self) -> tuple[str, str]:
        """The chosen (vision layer, text layer)."""
        return self.ranking["best"]["vision_layer"], self.ranking["best"]["text_layer"]

    def describe(self, **facts: Any) -> LayerSimilarity:
        """The same with more in its document."""
        return replace(self, ranking={**self.ranking, **facts})

    def save(self, ranked: RankedScores, curve: np.ndarray | None) -> None:
        """Write `scores.nc` (where there are, with null-adjusted scores as `calibrated`, p-values, null and the curve
        over k), the charts as PNG, and last `ranking.json`."""
        whole = self.scores.to_dataset()
        if ranked.null is not None:
            whole["calibrated"] = (self.scores.dims, ranked.null.adjusted)
            whole["p_value"] = (self.scores.dims, ranked.null.p_values)
            whole["null"] = (("permutation",), ranked.null.largest)
        if curve is not None:
            whole["mutual_knn_at_k"] = (("k", *self.scores.dims), curve)
            whole.coords["k"] = np.arange(1, len(curve) + 1)
        self.folder.write(SCORES, whole.to_netcdf(engine="scipy"))
        for name, (title, spec) in ranking_charts(self.scores, self.ranking).items():
            self.folder.write(f"{name}.png", png(spec, title=title))
        self.folder.write(FILE, json.dumps(self.ranking, indent=1, allow_nan=False).encode())


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
    for name, written in rankings.holding(FILE).items():
        try:
            ranking = json.loads(rankings.read(f"{name}/{FILE}"))
            prints = ranking["vision"]["fingerprint"], ranking["text"]["fingerprint"]
            _ = ranking["best"]["vision_layer"], ranking["best"]["text_layer"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DamageError(
                f"{rankings}/{name}/{FILE} does not read. Remove its folder and run: structure rank-layers"
            ) from None
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
