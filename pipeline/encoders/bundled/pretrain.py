"""Train a bundled encoder from nothing and write it in Hugging Face's format.

`python -m structure.pipeline.encoders.bundled.pretrain --modality vision --out FOLDER`; progress goes to the log.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

VISION_STEPS, VISION_IMAGES, VISION_BATCH = 1000, 32768, 256
TEXT_STEPS, TEXT_SCENES, TEXT_BATCH = 800, 10000, 128


def store(model: PreTrainedModel, folder: Path) -> None:
    """Write config and weights; the weights in float16, the config saying float32, which is what they are loaded as."""
    model.save_pretrained(folder)
    weights = folder / "model.safetensors"
    halved = {name: value.half() for name, value in load_file(weights).items()}
    save_file(halved, weights, metadata={"format": "pt"})


def pretrain_vision(folder: Path, *, seed: int, steps: int) -> None:
    """Train `scenes-vit` on images alone and write it with its preprocessing to `folder`."""
    from transformers import ViTImageProcessor

    from structure.pipeline.encoders.bundled import vision_pretraining as vision

    vit = vision.pretrain_vit(images=VISION_IMAGES, steps=steps, batch=VISION_BATCH, seed=seed)
    store(vit, folder)
    channels = 3
    ViTImageProcessor(
        size={"height": 64, "width": 64}, image_mean=[vision.MEAN] * channels, image_std=[vision.STD] * channels
    ).save_pretrained(folder)


def pretrain_text(folder: Path, *, seed: int, steps: int) -> None:
    """Train `scenes-text` on captions alone and write it with its tokenizer to `folder`."""
    from structure.pipeline.encoders.bundled import text_pretraining as text

    bert, tokenizer = text.pretrain_bert(scenes=TEXT_SCENES, steps=steps, batch=TEXT_BATCH, seed=seed)
    store(bert, folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modality", choices=("vision", "text"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help=f"default {VISION_STEPS} for vision, {TEXT_STEPS} for text")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    if options.modality == "vision":
        pretrain_vision(options.out, seed=options.seed, steps=options.steps or VISION_STEPS)
    else:
        pretrain_text(options.out, seed=options.seed, steps=options.steps or TEXT_STEPS)


if __name__ == "__main__":
    main()
