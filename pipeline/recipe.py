"""A recipe: extract, rank, align over a grid and seeds, evaluate, compare, report; written down as YAML."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.progress import Listener, Note, silent
from structure.pipeline.results import Result
from structure.pipeline.stages.align import align
from structure.pipeline.stages.evaluate import evaluate
from structure.pipeline.stages.extract import extract
from structure.pipeline.stages.rank_layers import rank_layers
from structure.pipeline.stages.report import report
from structure.pipeline.suites.compare import SeedDifference, SeedMean, seed_differences, seed_means
from structure.pipeline.yaml_file import YamlFile, load_yaml
from structure.store import Store, open_store
from structure.store.errors import StructureError

SECTIONS = ("name", "version", "about", "extract", "rank", "align", "evaluate", "compare")
EXTRACT = ("dataset", "split", "models", "layers", "pool", "captions", "limit", "dtype", "amp")
RANK = ("metric", "k", "samples", "calibrate", "preset", "seed")
ALIGN = ("options", "share_rate", "seeds", "grid", "pairs", "dataset", "split", "vision", "text")
GRID = ("layers", "regulariser", "method", "weight", "pairs")


@dataclass(frozen=True)
class RecipeRun:
    """What a recipe gave: means over seeds, paired differences, the report, and the seconds that each stage took."""

    name: str
    means: tuple[SeedMean, ...]
    differences: tuple[SeedDifference, ...]
    report: Path
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "recipe": self.name,
            "means": [row.row() for row in self.means],
            "differences": [row.row() for row in self.differences],
            "report": str(self.report),
            "seconds": dict(self.seconds),
        }


def run(
    recipe: str,
    *,
    store: Store | str | Path,
    data_root: str | Path = "data",
    device: str = "auto",
    on_event: Listener = silent,
) -> RecipeRun:
    """Run a shipped recipe by name, or a YAML file by path. Finished extraction is not done again.

    Raises StructureError with file and line for a key that is not known.
    """
    target = store if isinstance(store, Store) else open_store(store)
    file = load_yaml("recipe", recipe, folder="recipes")
    plan = _checked(file)
    seconds: dict[str, float] = {}
    with _timed(seconds, "extract"):
        places = [_extract(file, index, target, data_root, device, on_event) for index in range(len(plan["extract"]))]
    dataset, split = places[0]
    with _timed(seconds, "rank"):
        rank_layers(
            store=target, dataset=dataset, split=split, device=device, on_event=on_event, **plan.get("rank", {})
        )
    with _timed(seconds, "align"):
        names = _align(plan, target, dataset, split, device, on_event)
    with _timed(seconds, "evaluate"):
        done = evaluate(
            plan["evaluate"]["suite"],
            store=target,
            aligners=[name for seeds in names.values() for name in seeds.values()],
            datasets=plan["evaluate"].get("datasets", ()),
            data_root=data_root,
            device=device,
            on_event=on_event,
        )
    by_aligner: dict[str, list[Result]] = {}
    for result in done.results:
        by_aligner.setdefault(result.aligner, []).append(result)
    runs = {variant: {seed: by_aligner[name] for seed, name in seeds.items()} for variant, seeds in names.items()}
    means = [row for variant, by_seed in runs.items() for row in seed_means(variant, by_seed)]
    differences = [
        row
        for pair in plan.get("compare", ())
        for first, second in [(variant_name(pair["first"]), variant_name(pair["second"]))]
        for row in seed_differences(first, runs[first], second, runs[second])
    ]
    with _timed(seconds, "report"):
        summary = {
            "recipe": plan["name"],
            "about": plan.get("about", ""),
            "means": [row.row() for row in means],
            "differences": [row.row() for row in differences],
            "seconds": seconds,
        }
        folder = target.folder("reports", plan["name"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps(summary, indent=1))
        page = report(store=target, summary=summary, out=folder / "report.html", on_event=on_event)
    return RecipeRun(plan["name"], tuple(means), tuple(differences), page, seconds)


def variant_name(values: Mapping[str, Any]) -> str:
    """`layers=auto regulariser=none`: what tells a cell of the grid apart."""
    return " ".join(f"{key}={values[key]}" for key in GRID if key in values)


def _checked(file: YamlFile) -> Mapping[str, Any]:
    """The document, every key of it known."""
    plan = file.mapping((), allowed=SECTIONS)
    for section in ("name", "extract", "align", "evaluate"):
        if section not in plan:
            raise file.error((), f"a recipe needs {section!r}.")
    for index in range(len(plan["extract"])):
        file.mapping(("extract", index), allowed=EXTRACT)
    if "rank" in plan:
        file.mapping(("rank",), allowed=RANK)
    file.mapping(("align",), allowed=ALIGN)
    if "options" in plan["align"]:
        file.mapping(("align", "options"), allowed=[field.name for field in fields(TrainingOptions)])
    grid = file.mapping(("align", "grid"), allowed=GRID) if "grid" in plan["align"] else {}
    file.mapping(("evaluate",), allowed=("suite", "datasets"))
    known = {variant_name(cell) for cell in _cells(grid)}
    for index in range(len(plan.get("compare", ()))):
        pair = file.mapping(("compare", index), allowed=("first", "second"))
        for side in ("first", "second"):
            cell = file.mapping(("compare", index, side), allowed=GRID)
            if variant_name(cell) not in known:
                raise file.error(
                    ("compare", index, side),
                    f"{variant_name(pair[side])!r} is not a cell of the grid: {sorted(known)}.",
                )
    return plan


def _cells(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _extract(
    file: YamlFile, index: int, store: Store, data_root: str | Path, device: str, on_event: Listener
) -> tuple[str, str]:
    """Run one entry; returns the dataset and split as the store calls them."""
    entry = dict(file.data["extract"][index])
    done = extract(
        entry.pop("models"),
        entry.pop("dataset"),
        store=store,
        data_root=data_root,
        device=device,
        on_event=on_event,
        **entry,
    )
    manifest = done[0].plan.manifest
    return manifest.dataset, manifest.split


def _align(
    plan: Mapping[str, Any], store: Store, dataset: str, split: str, device: str, on_event: Listener
) -> dict[str, dict[int, str]]:
    """Train every cell of the grid with every seed: variant -> seed -> aligner's name.

    With `share_rate`, the learning rate that the first run with a choice of layers finds is that of all its others: a
    difference between them is then not one of learning rates.
    """
    section = plan["align"]
    given: dict[str, Any] = section.get("options", {})
    names: dict[str, dict[int, str]] = {}
    rates: dict[Any, float] = {}
    # Cells with the regulariser go first, so that a shared rate is one found with all losses in place.
    cells = sorted(_cells(section.get("grid", {})), key=lambda cell: cell.get("regulariser") == "none")
    for cell in cells:
        settings = dict(cell)
        layers, pairs = settings.pop("layers", "auto"), settings.pop("pairs", section.get("pairs"))
        for seed in section.get("seeds", (42,)):
            shared = (layers, settings.get("method"), pairs)
            options = replace(
                TrainingOptions(**given),
                seed=seed,
                device=device,
                rate=rates.get(shared, given.get("rate")),
                **settings,
            )
            name = "-".join([plan["name"], *(str(value) for value in cell.values()), f"seed{seed}"]).replace(",", "+")
            done = align(
                layers,
                store=store,
                dataset=section.get("dataset", dataset),
                split=section.get("split", split),
                vision=section.get("vision"),
                text=section.get("text"),
                options=options,
                pairs=pairs,
                name=name,
                on_event=lambda event: None if isinstance(event, Note) else on_event(event),
            )
            if section.get("share_rate") and done.trained.rate is not None:
                rates[shared] = done.trained.rate
            names.setdefault(variant_name(cell), {})[seed] = name
    if not names:
        raise StructureError(f"The recipe {plan['name']} trains nothing.")
    return dict(sorted(names.items()))


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
