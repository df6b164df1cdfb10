"""What the bundled encoders are worth: `python tests/benchmarks/bundled_encoders.py [--pairs 4000]`, JSON lines.

Frozen features of every layer; mutual kNN of every layer pair on training pairs, of which the first, the last and the
best pair are printed; then, for the last and for the best pair, two plain maps from 4,000 training pairs (ridge from
image to text; two linear heads by InfoNCE), scored on 1,000 test scenes whose compositions are held out. A layer is
named as `structure models bundled:scenes-vit` does, a vision layer with how it is pooled; chance stands in the name of
every number.
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import as_file, files

import torch
import torch.nn.functional as F
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from structure.pipeline.datasets.scenes import Scenes

Layers = dict[str, torch.Tensor]
K = 10


@torch.inference_mode()
def read_pictures(folder: str, dataset: Scenes) -> Layers:
    """Layer and pooling -> `(items, width)`."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoImageProcessor.from_pretrained(folder)
    parts: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(dataset), 200):
        pictures = [dataset.image(index) for index in range(start, min(start + 200, len(dataset)))]
        out = model(**processor(pictures, return_tensors="pt"), output_hidden_states=True)
        for depth, hidden in enumerate((*out.hidden_states, out.last_hidden_state)):
            name = "final_norm" if depth == len(out.hidden_states) else layer_name(depth)
            if depth:
                parts.setdefault(f"{name}.cls", []).append(hidden[:, 0])
            parts.setdefault(f"{name}.mean", []).append(hidden[:, 1:].mean(dim=1))
    return {name: torch.cat(rows) for name, rows in parts.items()}


@torch.inference_mode()
def read_texts(folder: str, texts: list[str]) -> Layers:
    """Layer -> `(texts, width)`, the mean over real tokens."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    parts: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(texts), 500):
        batch = tokenizer(texts[start : start + 500], padding=True, truncation=True, return_tensors="pt")
        real = batch["attention_mask"][..., None].float()
        for depth, hidden in enumerate(model(**batch, output_hidden_states=True).hidden_states):
            parts.setdefault(layer_name(depth), []).append((hidden * real).sum(dim=1) / real.sum(dim=1))
    return {name: torch.cat(rows) for name, rows in parts.items()}


def layer_name(depth: int) -> str:
    return f"block.{depth - 1:02}" if depth else "embed"


def nearest(features: torch.Tensor) -> torch.Tensor:
    """`(rows, rows)` bool: the K nearest by cosine."""
    unit = F.normalize(features, dim=1)
    near = (unit @ unit.T).fill_diagonal_(-torch.inf).topk(K, dim=1).indices
    return torch.zeros(len(unit), len(unit), dtype=torch.bool).scatter_(1, near, True)


def fit_ridge(x: torch.Tensor, y: torch.Tensor, *, ridge: float = 1e-3) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights from standardised image features to centred text features; identity on the text side."""
    gram = x.T @ x + ridge * len(x) * torch.eye(x.shape[1])
    return torch.linalg.solve(gram, x.T @ y), torch.eye(y.shape[1])


def fit_heads(x: torch.Tensor, captions: torch.Tensor, *, steps: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Two linear heads by symmetric InfoNCE at temperature 0.07, a random caption of five each time."""
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(width, 96, generator=generator) / width**0.5 for width in (x.shape[1], captions.shape[2])]
    for head in heads:
        head.requires_grad_()
    optimiser = torch.optim.AdamW(heads, lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (512,), generator=generator)
        words = captions[rows, torch.randint(5, (512,), generator=generator)]
        one, other = F.normalize(x[rows] @ heads[0], dim=1), F.normalize(words @ heads[1], dim=1)
        scores, truth = one @ other.T / 0.07, torch.arange(512)
        loss = F.cross_entropy(scores, truth) + F.cross_entropy(scores.T, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return heads[0].detach(), heads[1].detach()


def score(pictures: torch.Tensor, captions: torch.Tensor, prompts: Layers, test: Scenes) -> dict[str, float]:
    """`{measure, chance C: value}`: retrieval both ways over all five captions, and four zero-shot tasks."""
    pictures, flat = F.normalize(pictures, dim=1), F.normalize(captions.flatten(0, 1), dim=1)
    scores = pictures @ flat.T
    owner = torch.arange(len(pictures)).repeat_interleave(5)
    own = scores[owner, torch.arange(len(flat))]
    images = ((scores > own).sum(dim=0) < 10).float().mean().item()
    full = scores[:, ::5]
    texts = ((full > full.diag()[:, None]).sum(dim=1) < 10).float().mean().item()
    out = {"images@10, any caption": [images, 10 / len(pictures)], "texts@10, full": [texts, 10 / len(pictures)]}
    labels = [test.item(index).labels for index in range(len(test))]
    for task, classes in prompts.items():
        rows = [row for row, known in enumerate(labels) if task in known]
        truth = torch.tensor([labels[row][task] for row in rows])
        right = (pictures[rows] @ F.normalize(classes, dim=1).T).argmax(dim=1) == truth
        out[task] = [right.float().mean().item(), 1 / len(classes)]
    return {f"{name} (chance {chance:g})": round(value, 3) for name, (value, chance) in out.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--vision")
    parser.add_argument("--text")
    options = parser.parse_args()
    with as_file(files("structure.pipeline.encoders.bundled")) as bundled:
        vision, text = options.vision or str(bundled / "scenes-vit"), options.text or str(bundled / "scenes-text")
        train, test = Scenes("train", options.pairs), Scenes("test", 1000)
        x, z = read_pictures(vision, train), read_pictures(vision, test)
        y, w = (
            read_texts(text, [words for index in range(len(data)) for words in data.item(index).captions])
            for data in (train, test)
        )
        asked = {
            (task, name, template): template.replace("{c}", name)
            for task, found in test.tasks.items()
            for name in found.classes
            for template in found.templates
        }
        prompts = read_texts(text, list(asked.values()))
    rows = min(2000, len(train))
    near = [{name: nearest(values[:rows]) for name, values in x.items()}]
    near.append({name: nearest(values.view(len(train), 5, -1)[:rows, 0]) for name, values in y.items()})
    shared = {
        (one, other): (a & b).sum().item() / (K * rows) for one, a in near[0].items() for other, b in near[1].items()
    }
    best = max(shared, key=shared.__getitem__)
    last = ("final_norm.cls", list(y)[-1])
    pairs = {"first": (next(iter(x)), next(iter(y))), "last": last, "best": best}
    knn = {f"{label} ({', '.join(pair)})": round(shared[pair], 4) for label, pair in pairs.items()}
    print(json.dumps({"measure": f"mutual kNN of {len(shared)} layer pairs, chance {K / (rows - 1):.3f}", **knn}))
    for label in ("last", "best"):
        one, other = pairs[label]
        mean, spread = x[one].mean(dim=0), x[one].std()
        middle = y[other].mean(dim=0)
        pictures, captions = (x[one] - mean) / spread, (y[other] - middle).view(len(train), 5, -1)
        captions, scale = captions / captions.std(), captions.std()
        heads = {"ridge": fit_ridge(pictures, captions.mean(dim=1)), "infonce": fit_heads(pictures, captions)}
        for method, (head, words) in heads.items():
            classes = {}
            for task, found in test.tasks.items():
                keys = [row for row, key in enumerate(asked) if key[0] == task]
                vectors = F.normalize((prompts[other][keys] - middle) / scale @ words, dim=1)
                classes[task] = vectors.view(len(found.classes), len(found.templates), -1).mean(dim=1)
            measured = score(
                (z[one] - mean) / spread @ head,
                ((w[other] - middle) / scale @ words).view(len(test), 5, -1),
                classes,
                test,
            )
            print(json.dumps({"measure": f"{method} on the {label} pair ({one}, {other})", **measured}))


if __name__ == "__main__":
    main()
