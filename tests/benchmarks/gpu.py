"""What a GPU is worth here, as JSON lines: extraction in bf16, ranking a large store, training on many pairs.

    python tests/benchmarks/gpu.py [--images 4096] [--rows 118000] [--pairs 80000] [--epochs 60] [--only PART]
    python tests/benchmarks/gpu.py --device cpu --tiny

`extraction`: a vision transformer with random weights (ViT-B/16's size by default; --width 1024 --depth 24 --heads 16
--image 518 --patch 14 is DINOv2-L's) over batches that lie in memory as decoded images. `ratio` is the rate of
everything that extraction does with them (every layer pooled, checked, checksummed and written) over that of the bare
forward loop on the same batches, both with the copy to the device; turns are taken, the median counts.
`ranking`: `rank_layers` with every row over a store of float16 layers (12 GB in the temporary folder), calibration and
choice included; writing that store is not timed. `training`: linear heads with R_S and InfoNCE; two runs, of `--epochs`
and of a third of them, say what an epoch takes, and `seconds` is scaled to `--of` epochs. `apart` is the largest
difference between the device's numbers and the CPU's on a small case, relative to the largest number, in float32.

`--tiny` sets all sizes so small that a CPU runs the same code in seconds; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from structure.pipeline import rank_layers
from structure.pipeline.aligners import TrainingOptions, fit
from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.extraction import fill as extraction
from structure.pipeline.extraction.batches import ExampleBatch
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import plan
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.pairing.pairs import choose_sets
from structure.pipeline.ranking.compute_settings import ComputeSettings
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.ranking.rank_pair import rank_pair
from structure.pipeline.run_context import RunContext
from structure.store import Column, Manifest, SampleItem, Samples, Shard, Store, open_store
from structure.store.shard_ranges import shard_size
from structure.store.shard_writer import write_shard

TINY: dict[str, Any] = {
    "width": 32,
    "depth": 2,
    "heads": 2,
    "image": 32,
    "pictures": 24,
    "batch": 8,
    "rounds": 1,
    "rows": 60,
    "layers": (2, 3),
    "features": 16,
    "pairs": 96,
    "dim": 8,
    "train_batch": 32,
    "epochs": 3,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", choices=list(PARTS), help="one part of it")
    parser.add_argument("--tiny", action="store_true", help="all sizes so small that a CPU runs it")
    model = {"width": 768, "depth": 12, "heads": 12, "image": 224, "patch": 16}
    work = {"pictures": 4096, "batch": 128, "rounds": 5, "rows": 118_000, "features": 1024}
    training = {"pairs": 80_000, "dim": 512, "train_batch": 4096, "epochs": 60, "of": 1000}
    for name, value in (model | work | training).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--layers", type=int, nargs=2, default=(24, 25), metavar=("VISION", "TEXT"))
    given = parser.parse_args()
    if given.tiny:
        vars(given).update(TINY)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("unmeasured: no CUDA device here (--device cpu --tiny runs the same code on a CPU)")
    told = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else "cpu"
    for name, part in PARTS.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                line = {"measure": name, "device": told, **part(given, Path(folder))}
            print(json.dumps({key: rounded(value) for key, value in line.items()}), flush=True)


def rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def seconds(work: Callable[[], object], device: str) -> float:
    """By the clock, until the device has done all of it."""
    wait(device)
    began = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - began


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


def measure_extraction(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    spec = f"hf:{vision_transformer(given, folder / 'model')}"
    encoder = load_encoder(spec, device=given.device, amp="bf16")
    pixels = torch.rand(given.batch, 3, given.image, given.image, generator=torch.Generator().manual_seed(0))
    examples = list(pixels * 2 - 1)
    rows = SampleIndex(table("pictures", given.pictures), None, "")
    sizes: list[int] = []

    def decoded(
        _: Encoder, __: SampleIndex, shards: Iterator[Shard], *, size: int, **___: Any
    ) -> Iterator[ExampleBatch]:
        for shard in shards:
            for start in range(shard.start, shard.stop, size):
                chosen = range(start, min(start + size, shard.stop))
                sizes.append(len(chosen))
                yield ExampleBatch(shard, chosen, examples[: len(chosen)])

    def ours(number: int) -> None:
        store, options = open_store(folder / str(number)), ExtractionOptions(batch=given.batch, workers=0)
        sizes.clear()
        with mock.patch.object(extraction, "batches", decoded):
            chosen = plan(store, encoder, rows, options, spec=spec, device=given.device)
            extraction.fill(RunContext.of(store, device=given.device), encoder, rows, chosen, options)

    def bare() -> None:
        with torch.inference_mode():
            for size in sizes:
                encoder.forward(examples[:size], lambda name, hidden: None, wanted=frozenset())

    took: list[tuple[float, float]] = []
    ours(-1)
    bare()
    for number in range(given.rounds):
        both = {"ours": lambda number=number: ours(number), "bare": bare}
        order = list(both) if number % 2 else list(both)[::-1]
        found = {name: seconds(both[name], given.device) for name in order}
        took.append((found["ours"], found["bare"]))
    few = examples[:8]
    there, here = (load_encoder(spec, device=device, amp="off").encode(few) for device in (given.device, "cpu"))
    return {
        "ratio": statistics.median(loop / mine for mine, loop in took),
        "ratios": [round(loop / mine, 3) for mine, loop in took],
        "pictures_per_second": given.pictures / statistics.median(mine for mine, _ in took),
        "bare_per_second": given.pictures / statistics.median(loop for _, loop in took),
        "model": f"{given.width} x {given.depth}, {given.image} px",
        "pictures": given.pictures,
        "batch": given.batch,
        "apart": max(apart(there[name].cpu().numpy(), here[name].numpy()) for name in here),
    }


def vision_transformer(given: argparse.Namespace, folder: Path) -> Path:
    """A folder with a model that has random weights, and its preprocessing."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=given.width,
        num_hidden_layers=given.depth,
        num_attention_heads=given.heads,
        intermediate_size=4 * given.width,
        image_size=given.image,
        patch_size=given.patch,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": given.image, "width": given.image}).save_pretrained(folder)
    return folder


def measure_ranking(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    def stored(name: str, rows: int) -> Store:
        store = open_store(folder / name)
        samples = store.put_samples(table("rows", rows))
        for modality, count in zip(("vision", "text"), given.layers, strict=True):
            write_layers(store, samples, modality, count, given)
        return store

    def scores(store: Store, device: str) -> np.ndarray:
        sets = choose_sets(store, dataset=None, split=None, vision=None, text=None)
        ranked = rank_pair(store, *sets, RankingOptions(samples="all"), ComputeSettings(device=device))
        return np.asarray(ranked.similarity.scores)

    few = min(given.rows, 1000)  # and first, as a warm-up
    there, here = (scores(stored(f"small{i}", few), place) for i, place in enumerate((given.device, "cpu")))
    large = stored("large", given.rows)
    took = seconds(lambda: rank_layers(store=large, samples="all", device=given.device), given.device)
    return {
        "seconds": took,
        "at_most": 60,
        "rows": given.rows,
        "layers": list(given.layers),
        "width": given.features,
        "apart": apart(there, here),
    }


def table(name: str, rows: int) -> Samples:
    return Samples.build(name, "train", [SampleItem(f"{row:06d}", (f"{row}",), f"{row}") for row in range(rows)])


def write_layers(store: Store, samples: Samples, modality: Any, count: int, given: argparse.Namespace) -> None:
    """Layers that have something in common with each other and with the other side's."""
    names = [f"block.{depth:02}" for depth in range(count)]
    rows, width = len(samples), given.features
    manifest = Manifest(
        dataset=samples.dataset,
        split=samples.split,
        encoder=modality,
        modality=modality,
        rows_of="items" if modality == "vision" else "captions",
        rows=rows,
        captions=None if modality == "vision" else 1,
        shard_rows=shard_size(rows, 2 * width * count),
        columns=tuple(Column(name, width) for name in names),
        identity={"encoder": {"benchmark": modality}, "extraction": {}, "data": {}},
    )
    features = store.allocate(manifest, samples)
    noise = torch.Generator(given.device).manual_seed(len(modality))
    for shard in features.pending():
        common = torch.Generator(given.device).manual_seed(shard.start)
        shape = (len(shard), width)
        latent = torch.randn(shape, generator=common, device=given.device)
        values = {
            name: (latent + torch.randn(shape, generator=noise, device=given.device)).half().cpu().numpy()
            for name in names
        }
        write_shard(features, shard, values)


def measure_training(given: argparse.Namespace, _: Path) -> dict[str, Any]:
    draws = np.random.default_rng(0)
    common = draws.standard_normal((given.pairs, given.features), dtype=np.float32)
    sides = [common + draws.standard_normal(common.shape, dtype=np.float32) for _ in range(2)]

    def train(epochs: int, device: str, pairs: int, **more: Any) -> Sequence[dict[str, float]]:
        options = TrainingOptions(
            dim=given.dim,
            batch=given.train_batch,
            epochs=epochs,
            patience=epochs,
            learning_rate=1e-3,
            device=device,
            **more,
        )
        return fit(*(side[:pairs] for side in sides), options=options).history

    few, more = max(1, given.epochs // 3), given.epochs
    train(1, given.device, given.pairs)
    short, long = (
        seconds(lambda epochs=epochs: train(epochs, given.device, given.pairs), given.device)  # type: ignore[misc]
        for epochs in (few, more)
    )
    each = (long - short) / max(more - few, 1)
    small = min(given.pairs, 1024)
    there, here = (np.array([row["val_loss"] for row in train(3, place, small)]) for place in (given.device, "cpu"))
    return {
        "seconds": long + each * max(0, given.of - more),
        "at_most": 300,
        "epochs": given.of,
        "scaled_from": more,
        "epoch_s": each,
        "pairs": given.pairs,
        "batch": given.train_batch,
        "widths": [given.features, given.dim],
        "apart": apart(there, here),
    }


PARTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "extraction": measure_extraction,
    "ranking": measure_ranking,
    "training": measure_training,
}


if __name__ == "__main__":
    main()
