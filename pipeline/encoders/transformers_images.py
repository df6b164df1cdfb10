"""Images for a vision model of transformers: the checkpoint's own image processor, as a picklable function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from structure.pipeline.encoders.colour import image_mode, in_mode
from structure.pipeline.encoders.image_preprocessing import ImagePreprocessing
from structure.pipeline.encoders.library_errors import first_line
from structure.pipeline.encoders.torch_encoder import EncodedBatch
from structure.pipeline.encoders.transformers_encoder import TransformersEncoder
from structure.store.errors import NotPresentError, StructureError

IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")
"""Where a checkpoint says how its images are prepared: the image processor alone, or together with the tokenizer's."""

MOVED = 2e-3
"""What another place in a batch may move an image's features, relative to them: convolutions round differently there
(1e-6 on a CPU, up to 1e-3 in TF32 on a GPU)."""


class TransformersPreprocess:
    """A Hugging Face image processor as a picklable function: PIL image -> (channel, height, width) float32 tensor.

    `mode`: what images are converted to before, "RGB", or "L" for models of one channel.
    """

    def __init__(self, processor: Any, *, mode: str = "RGB") -> None:
        self.processor, self.mode = processor, mode

    def __call__(self, image: Any) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(images=in_mode(image, self.mode), return_tensors="pt")["pixel_values"][0]
        return pixels


def image_channels(config: Any, *, name: str) -> int:
    """How many channels the model's images have. Raises StructureError for other than one and three."""
    channels = getattr(config, "num_channels", 3)
    image_mode(channels if isinstance(channels, int) else 3, name=name)
    return channels if isinstance(channels, int) else 3


def image_processor(folder: Path, asked: ImagePreprocessing, *, name: str) -> Any:
    """The checkpoint's image processor, with what the model's name asks for in its place."""
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    if asked:
        options = asked.of_processor(processor, name=name)
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True, **options)
    return processor


def prepare_images(encoder: TransformersEncoder, folder: Path, asked: ImagePreprocessing) -> dict[str, Any]:
    """Give the encoder its preprocessing and its layers. Returns the provenance's part on preprocessing.

    Raises `NotPresentError` without preprocessor_config.json, `StructureError` where images of different shape come out
    in different sizes, or where the model takes other images than grey or coloured ones.
    """
    from PIL import Image

    mode = image_mode(image_channels(encoder.config, name=encoder.name), name=encoder.name)

    try:
        processor = image_processor(folder, asked, name=encoder.name)
    except (OSError, ValueError) as error:
        raise NotPresentError(
            f"{folder} does not say how its images are prepared (preprocessor_config.json: {first_line(error)}). "
            "Guessing size or normalisation would change every feature. Put the model's own file there."
        ) from error
    if mode == "L":
        _take_grey(processor, name=encoder.name)
    preprocess = TransformersPreprocess(processor, mode=mode)
    sizes = {tuple(preprocess(Image.new("RGB", size)).shape) for size in ((96, 64), (64, 96), (300, 200))}
    if len(sizes) != 1 or len(next(iter(sizes))) != 3:
        raise StructureError(
            f"The preprocessing of {folder} gives {sorted(sizes)} for images of different shape: they cannot form "
            "batches. Give preprocessor_config.json a fixed size (do_resize with height and width, or a centre crop)."
        )
    shape = next(iter(sizes))
    encoder.preprocess = preprocess
    draw = torch.Generator().manual_seed(0)
    noise = [torch.randn(shape, generator=draw) for _ in range(3)]
    encoder.settle(EncodedBatch({"pixel_values": noise[0][None].to(encoder.device, encoder.precision.weights)}))
    encoder.choose_grouping(noise[:2], noise[2], most=MOVED)
    stated = {} if mode == "RGB" else {"mode": mode}
    stated |= {} if encoder.grouping == "batch" else {"batches": encoder.grouping}
    return stated | {
        "class": type(processor).__name__,
        "backend": "pil" if type(processor).__name__.endswith("Pil") else "torchvision",
        "input_size": list(shape[1:]),
        "config": json.loads(processor.to_json_string()),
    }


def _take_grey(processor: Any, *, name: str) -> None:
    """Have an image processor leave grey images grey, and normalise them by one number where it states three that are
    equal, as the defaults of transformers are. Raises `StructureError` for three that differ."""
    if getattr(processor, "do_convert_rgb", None):
        processor.do_convert_rgb = False
    for option in ("image_mean", "image_std"):
        values = getattr(processor, option, None)
        if not isinstance(values, list | tuple) or len(values) != 3:
            continue
        if len(set(values)) > 1:
            raise StructureError(
                f"{name} takes grey images, and its preprocessor_config.json has {option} {list(values)} for three "
                "colours: it is not known by which number grey is normalised. Write one there, in brackets."
            )
        setattr(processor, option, [values[0]])
