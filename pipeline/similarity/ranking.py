"""What ranking found, kept below `rankings/<id>/`: the whole matrix, the choice and its reasons, a heatmap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structure.store import FeatureSet, Store
from structure.store.errors import DamageError, StructureError

if TYPE_CHECKING:
    import xarray as xr

    from structure.pipeline.similarity.calibration import Calibration

FILE = "ranking.json"


@dataclass(frozen=True)
class LayerSimilarity:
    """Scores of every (vision layer, text layer) and the choice made from them.

    `scores` is an `xarray.DataArray` over `vision_layer` and `text_layer` with `k`, `rows`, `preset` and `seed` as
    attributes; `ranking` the document of `structure rank-layers --json`; `folder` where both are kept.
    """

    scores: xr.DataArray
    ranking: Mapping[str, Any]
    folder: Path

    def best(self) -> tuple[str, str]:
        """The chosen (vision layer, text layer)."""
        return self.ranking["best"]["vision_layer"], self.ranking["best"]["text_layer"]

    def save(self, calibration: Calibration | None = None) -> None:
        """Write `scores.nc` (with calibrated scores, p-values and null where there are) and then `ranking.json`."""
        whole = self.scores.to_dataset()
        if calibration is not None:
            whole["calibrated"] = (self.scores.dims, calibration.calibrated)
            whole["p_value"] = (self.scores.dims, calibration.p_values)
            whole["null"] = (("permutation",), calibration.null)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / ".scores.nc.part"
        whole.to_netcdf(part, engine="scipy")
        part.replace(self.folder / "scores.nc")
        part = self.folder / f".{FILE}.part"
        part.write_text(json.dumps(self.ranking, indent=1, allow_nan=False))
        part.replace(self.folder / FILE)


def choice(scores: xr.DataArray, calibration: Calibration | None) -> dict[str, Any]:
    """Best pair, runner-up, and in a sentence why: the ranking's part that decides."""
    if calibration is None:
        order = np.argsort(np.where(np.isfinite(scores.values), -scores.values, np.inf), axis=None, kind="stable")
        pairs = [np.unravel_index(place, scores.shape) for place in order[:2]]
    else:
        pairs = [pair for pair in (calibration.best, calibration.runner_up) if pair is not None]
    told = [_pair(scores, calibration, int(i), int(j)) for i, j in pairs]
    best, runner_up = told[0], told[1] if len(told) > 1 else None
    reason = f"{best['vision_layer']} and {best['text_layer']} have the largest {scores.name}: {best['score']:.4f}"
    if calibration is not None:
        reason += (
            f" [{calibration.interval.low:.4f}, {calibration.interval.high:.4f}] over {calibration.rows:,} rows at "
            f"k = {calibration.k}, where chance gives {calibration.k / (calibration.rows - 1):.4f} and the largest of "
            f"all pairs stays below {calibration.threshold:.4f} in 95 % of {len(calibration.null)} permutations "
            f"(p = {best['p_value']:.3g})"
        )
    if runner_up is not None:
        lead = best["score"] - runner_up["score"]
        reason += f"; next is {runner_up['vision_layer']} with {runner_up['text_layer']}, {lead:.4f} behind"
        if calibration is not None and calibration.margin is not None:
            margin = calibration.margin
            reason += f" [{margin.low:.4f}, {margin.high:.4f}]"
            if margin.low <= 0:
                reason += ", so that the rows do not tell the two apart"
    found: dict[str, Any] = {"best": best, "runner_up": runner_up, "reason": f"{reason}."}
    if calibration is not None:
        found["threshold"] = calibration.threshold
        found["interval"] = [calibration.interval.low, calibration.interval.high]
        found["constant_pairs"] = int((~calibration.informative).sum())
    return found


def _pair(scores: xr.DataArray, calibration: Calibration | None, i: int, j: int) -> dict[str, Any]:
    return {
        "vision_layer": str(scores.coords["vision_layer"].values[i]),
        "text_layer": str(scores.coords["text_layer"].values[j]),
        "score": float(scores.values[i, j]),
        "calibrated": None if calibration is None else float(calibration.calibrated[i, j]),
        "p_value": None if calibration is None else float(calibration.p_values[i, j]),
    }


def ranking_id(vision: FeatureSet, text: FeatureSet, *, metric: str) -> str:
    """Folder name of a ranking of two feature sets."""
    ours, theirs = vision.manifest, text.manifest
    return f"{ours.dataset}.{ours.split}.{ours.encoder}.{theirs.encoder}.{metric}"


def best_layers(store: Store, vision: FeatureSet, text: FeatureSet) -> tuple[str, str, str]:
    """(vision layer, text layer, ranking id) of the newest ranking of exactly these two feature sets.

    Raises StructureError where there is none, with the command that makes one.
    """
    found: list[tuple[float, str, dict[str, Any]]] = []
    for path in store.folder("rankings").glob(f"*/{FILE}"):
        try:
            ranking = json.loads(path.read_text())
            prints = ranking["vision"]["fingerprint"], ranking["text"]["fingerprint"]
        except (ValueError, KeyError, TypeError):
            raise DamageError(f"{path} does not read. Remove its folder and run: structure rank-layers") from None
        if prints == (vision.fingerprint, text.fingerprint):
            found.append((path.stat().st_mtime, path.parent.name, ranking))
    if not found:
        raise StructureError(
            f"No ranking of {vision.key} and {text.key} is in the store {store.url}, so --layers auto cannot choose. "
            f"Run: structure rank-layers --dataset {vision.manifest.dataset} --vision {vision.manifest.encoder} "
            f"--text {text.manifest.encoder}"
        )
    _, name, ranking = max(found)
    return ranking["best"]["vision_layer"], ranking["best"]["text_layer"], name
