"""Evaluating many aligners from cached features, beside clip_benchmark's way, which encodes everything for every one.

    python tests/benchmarks/evaluation.py [--images 300 --templates 20 --aligners 10 --model ViT-B-32]
    python tests/benchmarks/evaluation.py --memory [--images 50000 --classes 1000 --templates 80]

The first prints one JSON line with the seconds of both on the same copy of generated scenes, in one process and on one
open_clip model (from its config, fixed seed), and their ratio. Theirs is clip_benchmark's zeroshot_classification, run
`--runs` times and taken `--aligners` times; ours is `structure eval` with features in the store: dataset opened and
hashed, intervals, files written. The second prints the peak memory of an evaluation of synthetic features, in a process
of its own, above what the imports take.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.heads.vector_heads import LinearHead
from structure.pipeline.datasets import export_webdataset, open_dataset
from structure.pipeline.datasets.dataset import Task
from structure.pipeline.evaluation.task import TaskRows
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord
from structure.pipeline.stages.evaluate import evaluate
from structure.pipeline.stages.extract import extract
from structure.pipeline.suites.prompt_set import load_prompt_set, resolve_prompts
from structure.pipeline.suites.suite import load_suite
from structure.store import Column, Manifest, SampleItem, Samples, Store, open_store
from structure.store.shard_ranges import shard_size
from structure.store.shard_writer import write_shard

SUITE = """name: bench
version: 1
defaults: {{split: test, kind: zeroshot_classification, metric: acc1, prompts: plain}}
tasks: [{{dataset: '{dataset}'}}]
"""


def random_aligner(store: Store, name: str, encoders: Mapping[str, Any], widths: tuple[int, int], dim: int) -> None:
    generator = torch.Generator().manual_seed(len(name) + sum(map(ord, name)))
    heads = [LinearHead(width, dim) for width in widths]
    for head in heads:
        head.reset(generator)
        head.eval().requires_grad_(False)
    facts = {"layers": {"vision": "pooled", "text": "pooled"}, "encoders": encoders}
    Aligner(heads[0], heads[1], "linear", facts).save(store.folder("aligners", name))


def speed(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    import open_clip
    from clip_benchmark.datasets.builder import build_wds_dataset
    from clip_benchmark.metrics import zeroshot_classification
    from safetensors.torch import save_file

    copy = root / "data" / "wds_scenes"
    scenes = open_dataset(f"scenes:{options.images}", split="test", data_root=root)
    export_webdataset(scenes, copy, task="colour")
    templates = [f"a photo of a {{c}} thing, number {number}." for number in range(options.templates)]
    (copy / "zeroshot_classification_templates.txt").write_text("\n".join(templates) + "\n")
    folder = root / options.model
    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.create_model(options.model, pretrained=None)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(options.model), "preprocess_cfg": {"size": 224}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))

    store = open_store(root / "store")
    towers = [f"open_clip:local-dir:{folder}#{tower}" for tower in ("visual", "text")]
    pairs = root / "pairs.jsonl"
    scenes.image(0).save(root / "one.png")
    pairs.write_text(json.dumps({"image": "one.png", "caption": "one"}) + "\n")
    kept = [
        entry.features for entry in extract(towers, f"pairs:{pairs}", store=store, layers=("pooled",), dtype="fp32")
    ]
    encoders = {side: EncoderRecord.of(f).to_json() for side, f in zip(("vision", "text"), kept, strict=True) if f}
    width = int(model.text_projection.shape[1])
    names = [f"a{number}" for number in range(options.aligners)]
    for name in names:
        random_aligner(store, name, encoders, (width, width), 256)
    suite = root / "bench.yaml"
    suite.write_text(SUITE.format(dataset="clip-benchmark:wds/scenes"))

    def ours() -> tuple[float, float, int]:
        began, cpu = time.perf_counter(), time.process_time()
        done = evaluate(str(suite), store=store, aligners=names, data_root=root / "data", device="cpu")
        return time.perf_counter() - began, time.process_time() - cpu, done.encoder_passes

    first, _, passes = ours()
    again, again_cpu, _ = sorted(ours() for _ in range(3))[1]

    loaded, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    loaded.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    zeroshot_classification.accuracy = lambda output, target, topk: [0.0] * len(topk)  # fails with NumPy 2.4; no cost
    theirs, theirs_cpu = [], []
    for _ in range(options.runs):
        began, cpu = time.perf_counter(), time.process_time()
        data = build_wds_dataset("wds/scenes", transform, data_dir=str(copy))
        loader = torch.utils.data.DataLoader(data.batched(64), batch_size=None, num_workers=0)
        loader.dataset.classes = data.classes
        with contextlib.redirect_stderr(io.StringIO()):
            zeroshot_classification.evaluate(loaded, loader, tokenizer, data.classes, data.templates, "cpu", amp=False)
        theirs.append(time.perf_counter() - began)
        theirs_cpu.append(time.process_time() - cpu)
    every = options.aligners * sum(theirs) / len(theirs)
    return {
        "benchmark": "evaluation",
        "model": options.model,
        "images": len(open_dataset("clip-benchmark:wds/scenes", data_root=root / "data")),
        "prompts": len(data.classes) * len(data.templates),
        "aligners": options.aligners,
        "clip_benchmark_seconds": round(every, 2),
        "of_runs": options.runs,
        "structure_seconds": round(again, 3),
        "structure_seconds_with_the_one_extraction": round(first, 2),
        "encoder_passes_of_the_first": passes,
        "ratio": round(every / again, 1),
        "ratio_of_cpu_seconds": round(options.aligners * sum(theirs_cpu) / len(theirs_cpu) / again_cpu, 1),
    }


def memory(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Make a synthetic dataset, its prompts and their features in a store, then evaluate in a fresh process."""
    random = np.random.default_rng(0)
    classes = tuple(f"class {number}" for number in range(options.classes))
    templates = tuple(f"template {number} of {{c}}" for number in range(options.templates))
    items = [SampleItem(f"i{i}", digest=str(i), labels={"label": i % len(classes)}) for i in range(options.images)]
    task = {"label": {"classes": list(classes), "templates": list(templates), "source": "made"}}
    store = open_store(root / "store")
    samples = store.put_samples(Samples.build("made", "test", items, tasks=task, kind="classification"))
    suite = root / "bench.yaml"
    suite.write_text(SUITE.format(dataset="made"))
    prompts = resolve_prompts(load_prompt_set("plain"), dataset="made", own=Task(classes, templates, "made"))
    question = TaskRows(load_suite(str(suite)).tasks[0], SampleIndex(samples, None, ""), prompts)
    asked = store.put_samples(question.prompt_rows.samples)
    encoders = {}
    for side, rows, rows_of in (("vision", samples, "items"), ("text", asked, "captions")):
        ids = rows.row_ids(rows_of, 1)
        columns = (Column("pooled", options.width),)
        extraction = {"layers": ["pooled"], "pooling": ["mean"], "dtype": "fp16"}
        limit = 1 if side == "text" else None
        manifest = Manifest(
            dataset=rows.dataset,
            split=rows.split,
            encoder=f"made-{side}",
            modality=side,
            rows_of=rows_of,
            rows=len(ids),
            captions=limit,
            shard_rows=shard_size(len(ids), columns[0].vector_bytes),
            columns=columns,
            identity={
                "encoder": {"made": side},
                "data": {"digest": rows.digest(rows_of, limit)},
                "extraction": extraction,
            },
        )
        features = store.allocate(manifest, rows)
        for shard in features.pending():
            values = random.standard_normal((len(shard), options.width), dtype=np.float32)
            write_shard(features, shard, {"pooled": values})
        encoders[side] = EncoderRecord.of(features).to_json()
    names = [f"a{number}" for number in range(options.aligners)]
    for name in names:
        random_aligner(store, name, encoders, (options.width, options.width), 512)
    command = [sys.executable, __file__, "--peak-of", str(root), "--aligners", str(options.aligners)]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    naive = 4 * (options.images * len(classes) + (options.images + len(classes) * len(templates)) * 512)
    return {
        "benchmark": "evaluation memory",
        "images": options.images,
        "classes": len(classes),
        "templates": len(templates),
        "width": options.width,
        "aligners": options.aligners,
        **told,
        "whole_matrices_mib": round(naive / 2**20),
    }


def peak(root: Path, aligners: int) -> dict[str, Any]:
    def most() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    names = [f"a{number}" for number in range(aligners)]
    before, began = most(), time.perf_counter()
    done = evaluate(str(root / "bench.yaml"), store=root / "store", aligners=names, data_root=root, device="cpu")
    seconds = time.perf_counter() - began
    assert done.encoder_passes == 0
    return {"peak_mib_above_imports": round((most() - before) / 1024), "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak-of", type=Path)
    parser.add_argument("--images", type=int)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--templates", type=int)
    parser.add_argument("--aligners", type=int, default=10)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    if options.peak_of:
        print(json.dumps(peak(options.peak_of, options.aligners)))
        return
    options.images = options.images or (50_000 if options.memory else 300)
    options.templates = options.templates or (80 if options.memory else 20)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps((memory if options.memory else speed)(options, Path(folder))))


if __name__ == "__main__":
    main()
