"""What extraction costs beside the bare forward loop of the same model over the same batches, in one process.

    python tests/benchmarks/extraction.py --model bundled:scenes-vit --dataset scenes:2000

Prints one JSON line: seconds of the bare loop (decode, preprocess, one forward pass; nothing read from the layers,
nothing stored), seconds of the extraction loop (every layer pooled, checked, checksummed and written), and the
overhead. Both are medians over repeats, in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from structure.pipeline.encoders import load_encoder
from structure.pipeline.features.batches import batches
from structure.pipeline.features.fill import fill
from structure.pipeline.features.plan import Extraction, plan
from structure.pipeline.features.rows import open_rows
from structure.store import open_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled:scenes-vit")
    parser.add_argument("--dataset", default="scenes:2000")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    encoder = load_encoder(options.model)
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as name:
        for repeat in range(options.repeats + 1):
            store = open_store(Path(name) / str(repeat))
            rows = open_rows(store, options.dataset, split=None, data_root=".", limit=options.limit)
            chosen = plan(store, encoder, rows, Extraction(), spec=options.model, device="cpu")
            began = time.perf_counter()
            for batch in batches(encoder, rows, chosen.manifest.shards, size=chosen.batch, workers=0, captions=1):
                with torch.inference_mode():
                    encoder.forward(batch.examples, lambda name, hidden: None, wanted=frozenset())
            middle = time.perf_counter()
            fill(store, encoder, rows, chosen, Extraction(workers=0), device="cpu")
            bare.append(middle - began)
            whole.append(time.perf_counter() - middle)
    first, second = statistics.median(bare[1:]), statistics.median(whole[1:])  # the first round warms up
    line = {"model": options.model, "rows": chosen.manifest.rows, "layers": len(chosen.manifest.columns)}
    print(json.dumps({**line, "bare_s": first, "extraction_s": second, "overhead": second / first - 1}))


if __name__ == "__main__":
    main()
