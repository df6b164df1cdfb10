"""Hugging Face transformers: vision and text models and the towers of two-tower models, every layer by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.blocks import blocks_unknown, find_blocks, trace_blocks
from structure.pipeline.encoders.example_groups import find_grouping
from structure.pipeline.encoders.hidden_states import confirm_hidden_states
from structure.pipeline.encoders.layer import Modality
from structure.pipeline.encoders.library_errors import library_errors
from structure.pipeline.encoders.pooling import poolings_of
from structure.pipeline.encoders.precision import Precision
from structure.pipeline.encoders.special_tokens import prefix_of
from structure.pipeline.encoders.taps import Emit, Taps
from structure.pipeline.encoders.tokens import pad
from structure.pipeline.encoders.torch_encoder import EncodedBatch, Everything, TorchEncoder, patch_grid, stack_images
from structure.store.errors import StructureError

MOST_MOVED_16 = 0.1
_FIXED_LENGTH = frozenset({"siglip", "siglip_text_model", "siglip2", "siglip2_text_model"})
"""Text towers trained on padding to full length without a mask: their `pooled` is the last position, padded or not."""


WAVES = ("input_values", "input_features")
"""What audio models call their input: samples, or a spectrogram."""


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
            names = ("vision", "image") if self.modality == "vision" else ("text",)
            part = next((name for name in names if hasattr(module, f"{name}_model")), None)
            if part is None:
                raise StructureError(
                    f"{name} ({type(module).__name__}) does not hold its {self.modality} tower apart: it cannot be "
                    "read. Extract features elsewhere and bring them in with `structure import`."
                )
            self.tower: nn.Module = getattr(module, f"{part}_model")
            self._call: Callable[..., Any] = getattr(
                module, "get_image_features" if self.modality == "vision" else "get_text_features"
            )
            self.config = getattr(config, f"{part}_config")
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
        self._taps = Taps(find_blocks(self.tower, depth=_depth(self.config), name=name))

    @property
    def taps(self) -> Taps:
        """Where the layers are read."""
        return self._taps

    @property
    def call_options(self) -> dict[str, Any]:
        """What the forward pass is called with besides its inputs."""
        return dict(self._call.keywords) if isinstance(self._call, partial) else {}

    def settle(self, probe: EncodedBatch) -> None:
        """Put the module in its place and find its layers with small passes over `probe`, a batch of one with more than
        one token or patch. Raises StructureError where the layers that are read are not what the library calls its
        hidden states, or where there are none and the blocks are not as many as the config says."""
        self.precision.place(self.module, self.device)
        resized = self.modality == "vision" and _resized(self.config, probe.inputs["pixel_values"])
        if resized and self.takes("interpolate_pos_encoding"):
            self._call = partial(self._call, interpolate_pos_encoding=True)
        with library_errors(self.name, probe.inputs), self._arithmetic():
            trace = trace_blocks(self.tower, self._taps.blocks, lambda: self._call(**probe.inputs))
        if not trace.calls:
            raise blocks_unknown(self.name, f"its {len(self._taps.blocks)} blocks are not called when it runs")
        first = trace.shapes[0]
        self._taps.norm, self._taps.calls = trace.norm, trace.calls
        self._taps.sequence_first = len(first) == 3 and first[0] != 1 and first[1] == 1
        self._taps.channels_last = len(first) == 4 and first[1] == first[2] != first[3]
        outputs = self.probe(probe)
        if self.modality != "vision" and any(layer.form == "map" for layer in outputs.layers):
            raise blocks_unknown(self.name, f"they put out {first} where tokens are (batch, token, width)")
        if outputs.layers[0].form == "map" and outputs.shapes["embed"] == tuple(probe.inputs["pixel_values"].shape):
            self._taps.embeds = False
            outputs.layers.pop(0)
        self.layers = tuple(outputs.layers)
        depth = _depth(self.config)
        if self.device.type != "meta" and not self._confirmed(probe) and depth not in (None, trace.calls):
            raise blocks_unknown(self.name, f"{trace.calls} are called in one pass, its config says {depth}")
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
        has_cls, patch = False, getattr(self.config, "patch_size", None)
        if patch is not None:
            grid = patch_grid(size, patch)
            tokens = outputs.shapes[self.layers[0].name][1]
            has_cls, prefix = prefix_of(self.tower, tokens=tokens, patches=grid[0] * grid[1])
            if prefix is not None:
                self.grid, self.prefix = grid, prefix
        self.default_pooling = "cls" if has_cls else "mean"
        self.poolings = poolings_of("tokens", has_cls=has_cls)

    def _confirmed(self, probe: EncodedBatch) -> bool:
        """Whether the library's own hidden states are the layers that are read; False where it gives too few."""
        ours: dict[str, torch.Tensor] = {}
        cut = False

        def keep(name: str, values: torch.Tensor) -> None:
            nonlocal cut
            if probe.mask is not None and values.ndim == 3 and values.shape[1] > probe.mask.shape[1]:
                values, cut = values[:, : probe.mask.shape[1]], True
            ours[name] = values.clone()  # a network may go on to change its hidden states in place

        with library_errors(self.name, probe.inputs), self._arithmetic(), self._taps.attached(keep, Everything()):
            out = self._call(**probe.inputs, output_hidden_states=True, return_dict=True)
        states = getattr(out, "hidden_states", None) or ()
        confirmed = confirm_hidden_states(
            ours, [state for state in states if isinstance(state, torch.Tensor)], name=self.name
        )
        self.pads_inside = confirmed and cut
        return confirmed

    def takes(self, argument: str) -> bool:
        """Whether the model's forward pass has this argument."""
        forward = self._call.forward if isinstance(self._call, nn.Module) else self._call
        return argument in inspect.signature(forward).parameters

    def choose_grouping(self, short: Sequence[Any], long: Any, *, most: float) -> None:
        """Try which examples may go through the network together: see `find_grouping`. In float32 where the weights
        are; weights in 16 bits round with the shape of the batch, and may move features by `MOST_MOVED_16`."""
        precision, held = self.precision, next(self.module.parameters()).dtype
        if precision.weights is torch.float32 and held is torch.float32:
            self.precision = Precision(None)
        else:
            most = MOST_MOVED_16
        try:
            self.grouping = find_grouping(
                lambda examples: self.encode(examples, pooling=["mean"]), short, long, most=most, name=self.name
            )
        finally:
            self.precision = precision

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
        if any(types := [getattr(example, "types", ()) for example in examples]):
            inputs["token_type_ids"] = pad(types, value=0, length=ids.shape[1])[0].to(self.device)
        mask = mask.to(self.device)
        if not self.fixed_length:
            inputs["attention_mask"] = mask.long()
        return EncodedBatch(inputs, mask)

    def read(self, batch: EncodedBatch, emit: Emit, *, wanted: Container[str]) -> None:
        with self._taps.attached(emit, wanted):
            out = self._call(**batch.inputs, return_dict=True)
        pooled = getattr(out, "pooler_output", None)
        if self.has_pooled and pooled is not None and "pooled" in wanted and set(pooled.shape[2:]) <= {1}:
            emit("pooled", pooled.flatten(1))  # (batch, width), or a map of one pixel; FLAVA's is all tokens, no vector


def _depth(config: Any) -> int | None:
    """How many blocks the config says there are, None where it does not. The blocks of an encoder whose model has a
    decoder too are stated apart."""
    names = ("encoder_layers", "num_encoder_layers") if getattr(config, "is_encoder_decoder", False) else ()
    for name in (*names, "num_hidden_layers"):
        if isinstance(getattr(config, name, None), int) and getattr(config, name):
            return int(getattr(config, name))
    return len(getattr(config, "depths", None) or ()) or None


def _resized(config: Any, pixels: torch.Tensor) -> bool:
    """Whether images are of another size than the position embeddings."""
    own = getattr(config, "image_size", None)
    sides = (own, own) if isinstance(own, int) else own
    return sides is not None and tuple(sides) != tuple(pixels.shape[-2:])


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
