"""What ranking found, kept below `rankings/<id>/`: the whole matrix, the choice and its reasons, pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.pipeline.figures import png
from structure.pipeline.similarity.pictures import pictures
from structure.store import FeatureSet, Store
from structure.store.errors import DamageError, StructureError
from structure.store.files import Files

if TYPE_CHECKING:
    import xarray as xr

    from structure.pipeline.similarity.metric import SimilarityMetric
    from structure.pipeline.similarity.permutation_test import Calibration
    from structure.pipeline.similarity.stability import Stability

FILE, SCORES = "ranking.json", "scores.nc"


@dataclass(frozen=True)
class LayerSimilarity:
    """Scores of every (vision layer, text layer) and the choice made from them.

    `scores` is an `xarray.DataArray` over `vision_layer` and `text_layer` with `k`, `rows`, `preset` and `seed` as
    attributes; `ranking` the document of `structure rank-layers --json`; `folder` where both are kept.
    """

    scores: xr.DataArray
    ranking: Mapping[str, Any]
    folder: Files

    def best(self) -> tuple[str, str]:
        """The chosen (vision layer, text layer)."""
        return self.ranking["best"]["vision_layer"], self.ranking["best"]["text_layer"]

    def save(self, calibration: Calibration, curve: np.ndarray | None) -> None:
        """Write `scores.nc` (with calibrated scores, p-values, null and the curve over k where there are), the
        pictures, and last `ranking.json`."""
        whole = self.scores.to_dataset()
        if calibration.null is not None:
            whole["calibrated"] = (self.scores.dims, calibration.null.calibrated)
            whole["p_value"] = (self.scores.dims, calibration.null.p_values)
            whole["null"] = (("permutation",), calibration.null.best)
        if curve is not None:
            whole["mutual_knn_at_k"] = (("k", *self.scores.dims), curve)
            whole.coords["k"] = np.arange(1, len(curve) + 1)
        self.folder.write(SCORES, whole.to_netcdf(engine="scipy"))
        for name, figure in pictures(self.scores, self.ranking).items():
            self.folder.write(f"{name}.png", png(figure))
        self.folder.write(FILE, json.dumps(self.ranking, indent=1, allow_nan=False).encode())


def choice(
    metric: SimilarityMetric,
    scores: xr.DataArray,
    calibration: Calibration,
    curve: np.ndarray | None,
    stable: Sequence[Stability],
) -> dict[str, Any]:
    """Best pair, runner-up, in a sentence why, and the numbers behind it: the ranking's part that decides."""
    pairs = [pair for pair in (calibration.best, calibration.runner_up) if pair is not None]
    told = [_pair(scores, calibration, *pair) for pair in pairs]
    null, interval, margin = calibration.null, calibration.interval, calibration.margin
    found: dict[str, Any] = {
        "best": told[0],
        "runner_up": told[1] if len(told) > 1 else None,
        "reason": reason(metric, scores, calibration, told, stable),
        "interval": None if interval is None else [interval.low, interval.high],
        "margin": None if margin is None else {"value": margin.value, "low": margin.low, "high": margin.high},
        "threshold": None if null is None else null.threshold,
        "null": None if null is None else null.best.tolist(),
        "curve": None,
        "stability": [_stability(scores, each) for each in stable],
    }
    if curve is not None:
        eligible = np.where(calibration.informative, curve, -1.0).reshape(len(curve), -1)
        winners = [_names(scores, *divmod(int(place), scores.shape[1])) for place in eligible.argmax(axis=1)]
        ks = np.arange(1, len(curve) + 1)
        found["curve"] = {
            "k": ks.tolist(),
            "score": curve[:, calibration.best[0], calibration.best[1]].tolist(),
            "chance": (ks / (calibration.rows - 1)).tolist(),
            "best": winners,
        }
    return found


def reason(
    metric: SimilarityMetric,
    scores: xr.DataArray,
    calibration: Calibration,
    told: Sequence[Mapping[str, Any]],
    stable: Sequence[Stability],
) -> str:
    """In a sentence why the pair was chosen, and how far that can be trusted."""
    best, chance, null = told[0], metric.chance(), calibration.null
    text = f"{best['vision_layer']} and {best['text_layer']} have the largest {scores.name}: {best['score']:.4f}"
    if calibration.interval is not None:
        text += f" [{calibration.interval.low:.4f}, {calibration.interval.high:.4f}]"
    text += f" over {calibration.rows:,} rows"
    if metric.needs_neighbours:
        text += f" at k = {scores.attrs['k']}"
    if chance is not None:
        text += f", where chance gives {chance:.4f}"
    if null is not None:
        text += (
            f"; the largest of all pairs stays below {null.threshold:.4f} in 95 % of {len(null.best)} permutations "
            f"(p = {best['p_value']:.3g})"
        )
    else:
        text += "; not calibrated: no permutation was drawn (--calibrate N draws N)"
    for other in told[1:]:
        lead = best["score"] - other["score"]
        text += f"; next is {other['vision_layer']} with {other['text_layer']}, {lead:.4f} behind"
        if calibration.margin is not None:
            margin = calibration.margin
            text += f" [{margin.low:.4f}, {margin.high:.4f}]"
            if margin.low <= 0:
                text += ", so that the rows do not tell the two apart"
    if stable:
        wins = [f"{round(each.agreement * len(each.chosen))} of {len(each.chosen)}" for each in stable]
        sizes = [f"of {each.size:,} rows" for each in stable]
        told_wins = [f"{win} {size}" for win, size in zip(wins, sizes, strict=True)]
        told_wins[0] = f"{wins[0]} random subsets {sizes[0]}"
        text += f"; the same pair wins in {', '.join(told_wins)}"
    return f"{text}."


def _names(scores: xr.DataArray, i: int, j: int) -> list[str]:
    return [str(scores.coords[side].values[place]) for side, place in (("vision_layer", i), ("text_layer", j))]


def _pair(scores: xr.DataArray, calibration: Calibration, i: int, j: int) -> dict[str, Any]:
    vision, text = _names(scores, i, j)
    null = calibration.null
    return {
        "vision_layer": vision,
        "text_layer": text,
        "score": float(scores.values[i, j]),
        "calibrated": None if null is None else float(null.calibrated[i, j]),
        "p_value": None if null is None else float(null.p_values[i, j]),
    }


def _stability(scores: xr.DataArray, found: Stability) -> dict[str, Any]:
    return {
        "rows": found.size,
        "k": found.k,
        "agreement": found.agreement,
        "chosen": [_names(scores, *pair) for pair in found.chosen],
        "score": list(found.score),
        "score_of_best": list(found.reference_score),
    }


def ranking_id(vision: FeatureSet, text: FeatureSet, *, metric: str) -> str:
    """Folder name of a ranking of two feature sets."""
    ours, theirs = vision.manifest, text.manifest
    return f"{ours.dataset}.{ours.split}.{ours.encoder}.{theirs.encoder}.{metric}"


def best_layers(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[str, str, str]:
    """(vision layer, text layer, ranking id) of the newest ranking of exactly these two feature sets.

    Raises StructureError where there is none, with the command that makes one.
    """
    found: list[tuple[float, str, str, str]] = []
    rankings = store.folder("rankings")
    for name, written in rankings.holding(FILE).items():
        try:
            ranking = json.loads(rankings.read(f"{name}/{FILE}"))
            prints = ranking["vision"]["fingerprint"], ranking["text"]["fingerprint"]
            chosen = ranking["best"]["vision_layer"], ranking["best"]["text_layer"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DamageError(
                f"{rankings}/{name}/{FILE} does not read. Remove its folder and run: structure rank-layers"
            ) from None
        if prints == (vision.fingerprint, text.fingerprint):
            found.append((written, name, *chosen))
    if not found:
        raise StructureError(
            f"No ranking of {vision.key} and {text.key} is in the store {store.url}, so --layers auto cannot choose. "
            f"Run: structure rank-layers --dataset {vision.manifest.dataset} --vision {vision.manifest.encoder} "
            f"--text {text.manifest.encoder}"
        )
    _, name, ours, theirs = max(found, key=lambda entry: entry[:2])
    return ours, theirs, name
