"""R_S, the choice of layers and the choice of method, tested again on every data set at hand with paired seeds.

    python tests/benchmarks/retest.py --data ../shared/data --store /tmp/auto [--only emoji-300] [--seeds 5]
    python tests/benchmarks/retest.py --data ../shared/data --store /tmp/auto --page docs/retest.md

Sets and stores are those of `auto.py`, with fewer pairs besides. A seed draws training pairs and held-out pairs; all
arms of a seed share both, their batches and, where the method has one, the first weights. Values are the mean of R@1,
R@5 and R@10 in both directions. A difference has a 95 % t-interval over the seeds and a p-value, which is corrected
for all differences on the page (Holm). Seeds draw from one pool, so that they overlap: intervals are of the draw and
the training, not of other data. Each seed is a line of STORE/retest.jsonl when it is done: a run that was stopped goes
on. `--page` writes the tables and the figure from these lines.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np
from scipy import stats

from structure.pipeline.aligners import TrainingOptions
from structure.pipeline.aligners.aligner_method import fit
from structure.pipeline.aligners.structure_diagnosis import diagnose
from structure.pipeline.aligners.structure_verdict import CONFLICT, INERT
from structure.pipeline.model_selection.stored import layer_candidates
from structure.pipeline.pairing.pairs import choose_sets, pair_rows
from structure.store import Rows, open_store
from tests.benchmarks.auto import TRAINED, drawn, mean_recall, measured

SIZES = {"emoji": (100, 300, 896), "coco": (74,), "scenes": (300, 750, 2000), "icons": (100, 300, 1000, 5750)}
STRUCTURE = TRAINED | {"regulariser": "structure"}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("first", TRAINED),
    "linear + R_S 1": ("first", STRUCTURE | {"weight": 1.0}),
    "linear + R_S 10": ("first", STRUCTURE | {"weight": 10.0}),
    "linear + R_S 10, perplexity": ("first", STRUCTURE | {"weight": 10.0, "rs_affinity": "perplexity"}),
    "linear, last layers": ("last", TRAINED),
    "kernel-csa": ("first", {"method": "kernel-csa"}),
    "kernel-csa, last layers": ("last", {"method": "kernel-csa"}),
    "ridge": ("first", {"method": "ridge"}),
    "ridge, last layers": ("last", {"method": "ridge"}),
    "mlp": ("first", TRAINED | {"method": "mlp"}),
}
"""Each arm's layers (the ranking's first pair, or the last blocks) and options."""

QUESTIONS = {
    "R_S at weight 1": ("linear + R_S 1", "linear"),
    "R_S at weight 10": ("linear + R_S 10", "linear"),
    "R_S at weight 10 by perplexity (not the paper's)": ("linear + R_S 10, perplexity", "linear"),
    "ranked layers instead of the last, `linear`": ("linear", "linear, last layers"),
    "ranked layers instead of the last, `kernel-csa`": ("kernel-csa", "kernel-csa, last layers"),
    "ranked layers instead of the last, `ridge`": ("ridge", "ridge, last layers"),
    "`kernel-csa` instead of `linear`": ("kernel-csa", "linear"),
    "`ridge` instead of `linear`": ("ridge", "linear"),
    "`mlp` instead of `linear`": ("mlp", "linear"),
}
FIGURE = "R_S at weight 10"
Line = Mapping[str, Any]


def measure(store: str, size: int, held_out: int, seed: int) -> dict[str, Any]:
    """Mean recall of every arm for one draw of pairs, with the diagnosis of R_S at weight 10."""
    opened = open_store(store)
    sets = choose_sets(opened, dataset=None, split=None, vision=None, text=None)
    rows = pair_rows(opened, *sets)
    order = np.random.default_rng(seed).permutation(len(rows))
    test, training = order[:held_out], np.sort(order[held_out : held_out + size])
    candidates = layer_candidates(opened, sets, "auto", 1)
    layers = {"first": candidates[0], "last": candidates[-1]}
    both = {
        name: [
            np.asarray(Rows(features, layer, numbers)[:])
            for features, layer, numbers in zip(sets, pair, (rows.vision, rows.text), strict=True)
        ]
        for name, pair in layers.items()
    }
    recall, began = {}, time.process_time()
    for name, (where, changes) in ARMS.items():
        vision, text = both[where]
        options = TrainingOptions(**changes, seed=seed, device="cpu")
        aligner = fit(vision[training], text[training], options=options).aligner
        recall[name] = round(mean_recall(aligner, vision[test], text[test]), 5)
    vision, text = both["first"]
    ten = TrainingOptions(**ARMS["linear + R_S 10"][1], seed=seed, device="cpu")
    return {
        "pairs": len(training),
        "held_out": len(test),
        "layers": layers,
        "recall": recall,
        "diagnosis": diagnose(vision[training], text[training], ten).to_dict(),
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def differences(sets: Mapping[str, Sequence[Line]]) -> list[dict[str, Any]]:
    """One row for every question on every set: mean difference, half its 95 % interval, Holm's p over all rows."""
    rows = []
    for question, (first, second) in QUESTIONS.items():
        for label, seeds in sets.items():
            gain = np.array([seed["recall"][first] - seed["recall"][second] for seed in seeds])
            same, half, p = np.ptp(gain) == 0, 0.0, 1.0
            if not same:
                half = float(stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain))
                p = float(stats.ttest_1samp(gain, 0).pvalue)
            rows.append({"question": question, "set": label, "gain": float(gain.mean()), "half": half, "p": p})
    order = sorted(range(len(rows)), key=lambda n: rows[n]["p"])
    least = 0.0
    for rank, n in enumerate(order):
        least = max(least, min(1.0, rows[n]["p"] * (len(rows) - rank)))
        rows[n]["holm"] = least
    return rows


def page(sets: Mapping[str, Sequence[Line]], figure: str) -> str:
    """The page in Markdown; `figure` is the file of the figure beside it."""
    rows = differences(sets)
    labels = list(sets)
    seeds = len(next(iter(sets.values())))
    cells = {(row["question"], row["set"]): row for row in rows}

    def cell(row: Mapping[str, Any]) -> str:
        if not row["gain"] and not row["half"]:
            return "the same"
        told = f"{row['gain']:+.3f} ±{row['half']:.3f}"
        return f"**{told}**" if row["holm"] < 0.05 else told

    tests = len(rows)
    kept = sum(row["holm"] < 0.05 for row in rows)
    lines = [
        "# What helps: R_S, layers and methods, tested again",
        "",
        f"Written by `python tests/benchmarks/retest.py --page docs/retest.md` from {seeds} seeds of every set. A seed "
        "draws the training pairs and the held-out pairs; both arms of a difference share them. Values are the mean of "
        "R@1, R@5 and R@10 in both directions. Differences have 95 % t-intervals over the seeds. **Bold**: "
        f"statistically significant at .05 after Holm's correction for all {tests} differences of this page ({kept} "
        "are). The seeds draw from one pool, so the intervals hold the draw and the training, not other data. "
        '"The same": both arms are one, since the ranking '
        "chooses the last layers. "
        "`linear` and `mlp`: 60 epochs, batches of 256, rate .001, 256 dimensions, temperature .05.",
        "",
        *(f"- {question}: {_in_short([cells[question, label] for label in labels])}." for question in QUESTIONS),
        "",
        "## Mean recall",
        "",
        f"| arm | {' | '.join(labels)} |",
        "|---" * (len(labels) + 1) + "|",
    ]
    for name in ARMS:
        means = [f"{np.mean([seed['recall'][name] for seed in sets[label]]):.3f}" for label in labels]
        lines.append(f"| {name} | {' | '.join(means)} |")
    first = [seeds[0] for seeds in sets.values()]
    lines.append(f"| held-out pairs | {' | '.join(str(seed['held_out']) for seed in first)} |")
    lines += ["", "## Differences", "", f"| question | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
    for question in QUESTIONS:
        lines.append(f"| {question} | {' | '.join(cell(cells[question, label]) for label in labels)} |")
    lines += [
        "",
        "## Where R_S helps",
        "",
        f"![Difference by R_S at weight 10 over the bound]({figure})",
        "",
        "The diagnosis that `align` prints before training under R_S: `weight/2 * JS(P_V, P_T)` in nats is the least "
        f"that R_S costs in a space where both sides coincide. Below {INERT} it is called inert, above {CONFLICT:g} in "
        "conflict.",
        "",
        "| set (pairs) | JS | diagonal of P_V | of P_T | bound at weight 10 | called | R_S 10 |",
        "|---|---|---|---|---|---|---|",
    ]
    for label in labels:
        found = [seed["diagnosis"] for seed in sets[label]]
        js, of_vision, of_text, bound = (
            float(np.mean([each[name] for each in found]))
            for name in ("js", "vision_diagonal", "text_diagonal", "bound")
        )
        called = ", ".join(dict.fromkeys(each["verdict"] for each in found))
        lines.append(
            f"| {label} | {js:.4f} | {of_vision:.3f} | {of_text:.3f} | {bound:.3f} | {called} | "
            f"{cell(cells[FIGURE, label])} |"
        )
    return "\n".join(lines) + "\n"


def _in_short(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where a difference is significant, and which way."""
    clear = [row for row in rows if row["holm"] < 0.05]
    better = ", ".join(row["set"] for row in clear if row["gain"] > 0)
    worse = ", ".join(row["set"] for row in clear if row["gain"] < 0)
    told = [f"{how} on {where}" for how, where in (("better", better), ("worse", worse)) if where]
    rest = len(rows) - len(clear)
    told += [f"not statistically significant on {'the other ' if clear else 'all '}{rest} sets"] if rest else []
    return "; ".join(told)


def draw(sets: Mapping[str, Sequence[Line]], file: Path) -> None:
    """The difference by R_S over the bound, with intervals, as a PNG file."""
    import altair
    import vl_convert
    from PIL import Image

    points = [
        {
            "set": row["set"].partition("-")[0],
            "pairs": row["set"].partition("-")[2],
            "bound": float(np.mean([seed["diagnosis"]["bound"] for seed in sets[row["set"]]])),
            "gain": row["gain"],
            "low": row["gain"] - row["half"],
            "high": row["gain"] + row["half"],
        }
        for row in differences(sets)
        if row["question"] == FIGURE
    ]
    x = altair.X("bound:Q", title="weight/2 * JS(P_V, P_T), nats (weight 10)").scale(type="log", domain=[0.0008, 4])
    hue = altair.Color("set:N", title="data set; numbers: pairs")
    base = altair.Chart(altair.InlineData(points)).encode(x=x, color=hue)
    dots = base.mark_point(filled=True, size=60).encode(y=altair.Y("gain:Q", title="mean recall, R_S 10 - none"))
    bars = base.mark_rule().encode(y="low:Q", y2="high:Q")
    labels = base.encode(y="gain:Q", text="pairs:N")
    right, left = altair.datum.set != "icons", altair.datum.set == "icons"
    names = labels.mark_text(align="left", dx=7, fontSize=10).transform_filter(right)
    names += labels.mark_text(align="right", dx=-7, fontSize=10).transform_filter(left)
    lines = [{"at": INERT}, {"at": CONFLICT}]
    limits = altair.Chart(altair.InlineData(lines)).mark_rule(strokeDash=[4, 3], opacity=0.5).encode(x="at:Q")
    zero = altair.Chart(altair.InlineData([{"zero": 0}])).mark_rule(opacity=0.4).encode(y="zero:Q")
    chart = (zero + limits + bars + dots + names).properties(width=640, height=320, background="white")
    drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.5))).convert("RGB")
    drawn.quantize(64).save(file, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only", default="", help="only these, such as emoji-300,icons-1000")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--page", type=Path, help="write the page, with a figure beside it")
    given = parser.parse_args()
    folder, data = given.store.resolve(), given.data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found = measured(folder / "retest.jsonl", SIZES, given.only, given.seeds, partial(drawn, measure, folder, data))
    if given.page:
        figure = given.page.with_suffix(".png")
        draw(found, figure)
        given.page.write_text(page(found, figure.name))
        print(given.page)


if __name__ == "__main__":
    main()
