"""Stage 5: one self-contained page of what is in a store: features, rankings, training, results, comparisons."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from structure.pipeline.aligners.aligner import RECORD
from structure.pipeline.figures import png, training_curves
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.results import Result, notes_of, read_results, read_table
from structure.pipeline.similarity.pictures import pictures
from structure.pipeline.similarity.ranking import FILE, SCORES
from structure.pipeline.suites.published import beside
from structure.store import Store, open_store
from structure.store.files import Files

PAGE = "report.html"
MOST_CURVES = 8
MOST_OVERLAYS = 8


def report(
    *,
    store: Store | str | Path,
    out: str | Path | None = None,
    folder: Files | None = None,
    summary: Mapping[str, Any] | None = None,
    on_event: Listener = silent,
) -> str:
    """Write the page to the file `out`, else as `report.html` into `folder` (the store by default); returns where.

    `summary` is what a recipe adds: means over seeds, paired differences, and figures (`title`, `alt`, PNG bytes).
    Everything from the data (captions, class names, model names) is escaped; the page loads nothing from elsewhere.
    """
    target = store if isinstance(store, Store) else open_store(store)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["number"] = _number
    template = environment.from_string(
        files("structure.pipeline.stages").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    aligners = list(target.folder("aligners").holding(RECORD))
    results = _results(target, aligners)
    page = template.render(
        title=(summary or {}).get("recipe", "structure"),
        summary=summary,
        figures=[{**figure, "image": _image(figure["png"])} for figure in (summary or {}).get("figures", ())],
        features=_features(target),
        rankings=_rankings(target),
        training=_training(target, aligners),
        results=results,
        overlays=_overlays(target, aligners),
        published=[entry.row() for entry in beside(results)],
        left_out=notes_of(results),
    )
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(page, encoding="utf-8")
    else:
        (folder or target.files).write(PAGE, page.encode())
    place = str(out) if out is not None else f"{folder or target.files}/{PAGE}"
    on_event(Note(f"report: {place}"))
    return place


def _features(store: Store) -> list[dict[str, Any]]:
    rows = []
    for features in store.feature_sets():
        if features.manifest.split.startswith("prompts."):
            continue
        identity = features.manifest.identity
        rows.append(
            {
                "key": features.key,
                "modality": features.modality,
                "rows": len(features),
                "layers": len(features.layers),
                "megabytes": features.manifest.size / 2**20,
                "source": identity["encoder"].get("source", ""),
                "weights": str(identity["encoder"].get("weights", ""))[:12],
                "state": features.state,
                "skipped": len(features.skipped),
            }
        )
    return rows


def _rankings(store: Store) -> list[dict[str, Any]]:
    found = []
    rankings = store.folder("rankings")
    for name in rankings.holding(FILE):
        ranking = json.loads(rankings.read(f"{name}/{FILE}"))
        with xr.open_dataset(io.BytesIO(rankings.read(f"{name}/{SCORES}")), engine="scipy") as kept:
            scores = kept[ranking["metric"]].load()
        drawn = {name: _image(png(figure)) for name, figure in pictures(scores, ranking).items()}
        found.append({**ranking, "pictures": drawn})
    return found


def _training(store: Store, aligners: Sequence[str]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    histories: dict[str, dict[str, list[float]]] = {}
    for name in aligners:
        folder = store.folder("aligners", name)
        metadata = json.loads(folder.read(RECORD))["metadata"]
        rows.append(
            {
                "name": name,
                "layers": metadata.get("layers", {}),
                "pairs": metadata.get("pairs"),
                "epochs": metadata.get("epochs"),
                "best_epoch": metadata.get("best_epoch"),
                "rate": metadata.get("rate"),
            }
        )
        if len(histories) < MOST_CURVES and folder.exists("history.parquet"):
            histories[name] = read_table(folder, "history.parquet").to_pydict()
    return {
        "aligners": rows,
        "curves": _image(png(training_curves(histories))) if histories else "",
        "shown": list(histories),
    }


def _results(store: Store, aligners: Sequence[str]) -> list[Result]:
    return [result for name in aligners for result in read_results(store.folder("results", name))]


def _overlays(store: Store, aligners: Sequence[str]) -> list[dict[str, str]]:
    """The pictures that evaluations kept, of the first aligners that have some."""
    found = []
    for name in aligners:
        folder = store.folder("results", name)
        found += [(name, folder, key) for key in folder.keys("pictures") if key.endswith(".png")]
    return [
        {"aligner": name, "what": key.removesuffix(".png").partition("/")[2], "image": _image(folder.read(key))}
        for name, folder, key in found[:MOST_OVERLAYS]
    ]


def _image(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"
