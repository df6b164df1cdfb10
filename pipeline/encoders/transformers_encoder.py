"""Hugging Face transformers: vision and text models and the towers of two-tower models, every layer by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.blocks import find_blocks, find_norm
from structure.pipeline.encoders.layer import Modality
from structure.pipeline.encoders.pooling import poolings_of
from structure.pipeline.encoders.precision import Precision
from structure.pipeline.encoders.tokens import pad
from structure.pipeline.encoders.torch_encoder import Emit, EncodedBatch, Taps, TorchEncoder, patch_grid, stack_images
from structure.store.errors import StructureError

_FIXED_LENGTH = frozenset({"siglip", "siglip_text_model", "siglip2", "siglip2_text_model"})
"""Text towers trained on padding to full length without a mask: their `pooled` is the last position, padded or not."""


WAVES = ("input_values", "input_features")
"""What audio models call their input: samples, or a spectrogram."""


class TransformersPreprocess:
    """A Hugging Face image processor as a picklable function: PIL image -> (3, height, width) float32 tensor."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Any) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"][0]
        return pixels


class TransformersEncoder(TorchEncoder):
    """A transformers model, or one tower of a two-tower model; `transformers_loading` builds it.

    `tower`: the part that is read. `vocabulary`, `pad_id`: of a text model. `has_pooled`: False where the checkpoint
    has no weights for the pooler. It can be used after `settle`.
    """

    def __init__(self, module: nn.Module, *, name: str, tower: str, precision: Precision, device: torch.device) -> None:
        config: Any = module.config
        self.name = name
        self.device = device
        self.precision = precision
        if has_two_towers(module):
            self.modality = "vision" if tower == "visual" else "text"
            self.tower: nn.Module = getattr(module, f"{self.modality}_model")
            self._call: Callable[..., Any] = getattr(
                module, "get_image_features" if self.modality == "vision" else "get_text_features"
            )
            self.config = getattr(config, f"{self.modality}_config")
        elif tower:
            raise StructureError(
                f"{name} ({type(module).__name__}) holds a vision and a text model, but embeds neither on its own: "
                "there is no tower to pick. Name the model that its vision part was made from."
            )
        else:
            self.tower, self._call, self.config = module, module, config
            self.modality = _modality(module, name)
        self.module = module
        self.fixed_length = self.modality == "text" and self.config.model_type in _FIXED_LENGTH
        self.pad_id = self.vocabulary = 0
        self.has_pooled = True
        depth = getattr(self.config, "num_hidden_layers", None) or len(getattr(self.config, "depths", ())) or None
        self._taps = Taps(find_blocks(self.tower, depth=depth, name=name))

    def settle(self, probe: EncodedBatch) -> None:
        """Put the module in its place and find its layers with one small pass over `probe` (a batch of one)."""
        self.precision.place(self.module, self.device)
        if self.modality == "vision" and _interpolates(self._call, self.config, probe.inputs["pixel_values"]):
            self._call = partial(self._call, interpolate_pos_encoding=True)

        def run() -> None:
            with torch.inference_mode(), self.precision.autocast(self.device):
                self._call(**probe.inputs)

        self._taps.norm = find_norm(self.tower, self._taps.blocks, run)
        outputs = self.probe(probe)
        if outputs.layers[0].form == "map" and outputs.shapes["embed"] == tuple(probe.inputs["pixel_values"].shape):
            self._taps.embeds = False
            outputs.layers.pop(0)
        self.layers = tuple(outputs.layers)
        self._is_map = any(layer.form == "map" for layer in self.layers)
        if self.modality != "vision":
            self.default_pooling = "mean"
            return
        size = probe.inputs["pixel_values"].shape[-2:]
        self.side = int(size[0])
        if self._is_map:
            self.default_pooling, self.poolings = "mean", poolings_of("map")
            if self.device.type != "meta":
                self.precision.place(self.module, self.device, channels_last=True)
            return
        patch = getattr(self.config, "patch_size", None)
        if patch is not None:
            self.grid = patch_grid(size, patch)
            self.prefix = max(0, outputs.shapes["embed"][1] - self.grid[0] * self.grid[1])
        has_cls = self.prefix > 0
        self.default_pooling = "cls" if has_cls else "mean"
        self.poolings = poolings_of("tokens", has_cls=has_cls)

    def collate(self, examples: Sequence[Any]) -> EncodedBatch:
        if self.modality == "vision":
            pixels = stack_images(examples, self.device, channels_last=self._is_map)
            return EncodedBatch({"pixel_values": pixels.to(self.precision.weights)})
        ids, mask = pad(examples, value=self.pad_id, length=self.limit if self.fixed_length else None)
        if int(ids.max()) >= self.vocabulary:
            raise StructureError(
                f"The tokenizer of {self.name} gave token {int(ids.max())}, the model's embedding has "
                f"{self.vocabulary} rows: they do not belong together. Put the model's own tokenizer in its folder."
            )
        inputs = {"input_ids": ids.to(self.device)}
        mask = mask.to(self.device)
        if not self.fixed_length:
            inputs["attention_mask"] = mask.long()
        return EncodedBatch(inputs, mask)

    def read(self, batch: EncodedBatch, emit: Emit, *, wanted: Container[str]) -> None:
        with self._taps.attached(emit, wanted):
            out = self._call(**batch.inputs, return_dict=True)
        pooled = getattr(out, "pooler_output", None)
        if self.has_pooled and pooled is not None and "pooled" in wanted:
            emit("pooled", pooled.flatten(1))


def _interpolates(call: Callable[..., Any], config: Any, pixels: torch.Tensor) -> bool:
    """Whether images are of another size than the position embeddings, and the model resamples those if told to."""
    own = getattr(config, "image_size", None)
    sides = (own, own) if isinstance(own, int) else own
    if sides is None or tuple(sides) == tuple(pixels.shape[-2:]):
        return False
    forward = call.forward if isinstance(call, nn.Module) else call
    return "interpolate_pos_encoding" in inspect.signature(forward).parameters


def has_two_towers(module: nn.Module) -> bool:
    """Whether the model embeds images and texts, each on its own."""
    return hasattr(module, "get_image_features") and hasattr(module, "get_text_features")


def _modality(module: nn.Module, name: str) -> Modality:
    main = getattr(module, "main_input_name", "")
    if main == "pixel_values":
        return "vision"
    if main == "input_ids":
        return "text"
    if main in WAVES:
        return "audio"
    raise StructureError(
        f"{name} ({type(module).__name__}) takes {main!r}: neither images, text nor sound. Extract its features "
        "elsewhere and bring them in with `structure import`."
    )
