"""One side of an aligned model for sentence-transformers: an encoder, some of its layers, pooling, a light head.

This file lies in the folder of the model and needs torch, transformers or timm, Pillow and sentence-transformers. It
reads the layers through hooks and prepares images as the head's training data were prepared, which the modules of
sentence-transformers do not do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file
from sentence_transformers.base.modules import InputModule
from torch import nn

CONFIG, HEAD, ENCODER = "tower.json", "head.safetensors", "encoder"


class AlignedTower(InputModule):
    """Images or texts to unit rows (batch, dim) float32. `folder` holds tower.json, head.safetensors and encoder/."""

    save_in_root = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.stated: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        self.encoder, self._prepare = _encoder(self.stated, folder / ENCODER)
        self.encoder.eval().requires_grad_(False)
        self.head = AlignedHead(self.stated["head"]["kind"], self.stated["head"]["settings"], load_file(folder / HEAD))

    @property
    def modalities(self) -> list[Any]:
        return [self.stated["modality"]]

    @property
    def max_seq_length(self) -> int | None:
        limit: int | None = self.stated.get("limit")
        return limit

    @property
    def tokenizer(self) -> Any:
        return self._prepare if self.stated["modality"] == "text" else None

    def get_embedding_dimension(self) -> int:
        dim: int = self.stated["head"]["dim"]
        return dim

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """Images as PIL images, arrays (height, width, 3) uint8 or paths; texts as strings."""
        key = self.stated["modality"]
        values = [value[key] if isinstance(value, dict) else value for value in inputs]
        if key == "image":
            return {"pixel_values": torch.stack([self._prepare(_upright(value)) for value in values])}
        return self._tokens([f"{prompt or ''}{self.stated['prompt']}{text}" for text in values])

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        names = ("pixel_values", "input_ids", "attention_mask", "token_type_ids")
        batch = {name: features[name] for name in names if name in features}
        parts = [(rows, self._read(part)) for rows, part in _groups(batch, self.stated["grouping"])]
        order = torch.tensor([row for rows, _ in parts for row in rows]).argsort()
        values = torch.cat([part for _, part in parts])[order.to(parts[0][1].device)]
        features["sentence_embedding"] = F.normalize(self.head(values.float()), dim=1)
        return features

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> AlignedTower:
        hub = {name: options.get(name) for name in ("token", "cache_folder", "revision")}
        local = bool(options.get("local_files_only", False))
        folder = cls.load_dir_path(model_name_or_path, subfolder=subfolder, local_files_only=local, **hub)
        if folder is None:
            raise FileNotFoundError(f"{model_name_or_path} has no folder {subfolder}.")
        return cls(Path(folder))

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """A copy of the folder: nothing of it is trained here."""
        shutil.copytree(self.folder, output_path, dirs_exist_ok=True)

    def _tokens(self, texts: list[str]) -> dict[str, Any]:
        """Padded on the right, to the longest text or to the full length; a text without tokens is `lone`."""
        stated, segments = self.stated, self.stated["segments"]
        cut = {"truncation": True, "max_length": stated["limit"]} if stated["limit"] else {}
        out = self._prepare(
            texts, padding=False, return_attention_mask=False, return_token_type_ids=segments, verbose=False, **cut
        )
        ids = [row or [stated["lone"]] for row in out["input_ids"]]
        types = [row or [0] for row in out["token_type_ids"]] if segments else []
        longest = stated["limit"] if stated["fixed_length"] else max(map(len, ids))
        features = {
            "input_ids": _padded(ids, longest, stated["pad_id"]),
            "attention_mask": _padded([[1] * len(row) for row in ids], longest, 0),
        }
        return features | ({"token_type_ids": _padded(types, longest, 0)} if segments else {})

    def _read(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """(rows, widths together) float32: the pooled layers side by side."""
        mask = batch.get("attention_mask")
        inputs = {k: v for k, v in batch.items() if not (k == "attention_mask" and self.stated["fixed_length"])}
        wanted = dict.fromkeys(name for name, _ in self.stated["layers"])
        found: dict[str, torch.Tensor] = {}

        def emit(name: str, values: torch.Tensor) -> None:
            if name in wanted:  # a copy: a network may go on to change its hidden states in place
                found[name] = values.clone()

        run = _run_timm if self.stated["library"] == "timm" else _run_transformers
        run(self.encoder, inputs, emit, self.stated)
        return torch.cat([self._pool(found[name], kind, mask) for name, kind in self.stated["layers"]], dim=1)

    def _pool(self, values: torch.Tensor, kind: str, mask: torch.Tensor | None) -> torch.Tensor:
        values = values.float()
        if values.ndim == 2:
            return values
        if values.ndim == 4:
            values, prefix = values.flatten(2).transpose(1, 2), 0
        else:
            tokens = self.stated["tokens"]  # with the patches alone, or with CLS and registers before them
            prefix = self.stated["prefix"] if mask is None and values.shape[1] == tokens else 0
        real = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        if mask is not None:
            values = values[:, : mask.shape[1]]
            real = mask.bool()
        if kind == "cls":
            return values[:, 0]
        if kind == "last":
            return values[torch.arange(len(values), device=values.device), real.sum(dim=1) - 1]
        values, real = values[:, prefix:], real[:, prefix:, None]
        if kind == "max":
            return values.masked_fill(~real, float("-inf")).amax(dim=1)
        return values.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1)


class AlignedHead(nn.Module):
    """The map of one side into the shared space, (rows, width) -> (rows, dim), by the name of its kind."""

    def __init__(self, kind: str, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.map, self.settings = MAPS[kind], settings
        if kind == "concat":
            inner = {name[6:]: value for name, value in tensors.items() if name.startswith("inner.")}
            self.inner = AlignedHead(settings["inner"]["kind"], settings["inner"]["settings"], inner)
        for name, value in tensors.items():
            if "." not in name:
                self.register_buffer(name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.map(self, x)


def _linear(h: Any, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, h.weight, h.bias)


def _mlp(h: Any, x: torch.Tensor) -> torch.Tensor:
    return F.linear(F.gelu(F.linear(x, h.weight1, h.bias1)), h.weight2, h.bias2)


def _low_rank(h: Any, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, h.projection) + torch.sigmoid(h.gate) * F.linear(F.gelu(F.linear(x, h.weight1)), h.weight2)


def _gated(h: Any, x: torch.Tensor) -> torch.Tensor:
    gate: Callable[[torch.Tensor], torch.Tensor] = F.relu
    if h.settings["norm"]:
        x, gate = F.layer_norm(x, (x.shape[1],), h.scale, h.shift), F.relu6
    return F.linear(gate(F.linear(x, h.weight1, h.bias1)) * F.linear(x, h.weight2, h.bias2), h.weight3, h.bias3)


def _identity(h: Any, x: torch.Tensor) -> torch.Tensor:
    centred: torch.Tensor = x - h.mean
    return centred


def _relative(h: Any, x: torch.Tensor) -> torch.Tensor:
    cosines = F.normalize(x, dim=1) @ F.normalize(h.anchors, dim=1).T
    keep, exponent, count = h.settings["keep"], h.settings["exponent"], len(h.anchors)
    if keep >= count and exponent == 1:
        return cosines
    values, places = cosines.topk(min(keep, count), dim=1)
    shares = values.clamp_min(0) / values[:, :1].clamp_min(torch.finfo(values.dtype).tiny)
    shares[:, 0] = (values[:, 0] != 0).to(shares)
    return torch.zeros_like(cosines).scatter_(1, places, shares**exponent)


def _kernel(h: Any, x: torch.Tensor) -> torch.Tensor:
    cosines = F.normalize(x, dim=1) @ F.normalize(h.landmarks, dim=1).T
    return F.linear(torch.exp((cosines - 1) * (2 * h.settings["gamma"])), h.coefficients, h.bias)


def _weighted(h: Any, x: torch.Tensor) -> torch.Tensor:
    weighted = F.normalize(F.linear(x, h.weight, h.bias), dim=1) * h.roots
    rest = (1 - weighted.square().sum(dim=1, keepdim=True)).clamp_min(0).sqrt()
    nothing = torch.zeros_like(rest)
    return torch.cat([weighted, *((nothing, rest) if h.settings["place"] else (rest, nothing))], dim=1)


def _concat(h: Any, x: torch.Tensor) -> torch.Tensor:
    def unit(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([F.normalize(layer, dim=1) for layer in rows.split(h.settings["widths"], dim=1)], dim=1)

    inner: torch.Tensor = h.inner(unit(unit(x) - h.mean))
    return inner


MAPS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "linear": _linear,
    "mlp": _mlp,
    "lowrank": _low_rank,
    "gated": _gated,
    "identity": _identity,
    "relative": _relative,
    "kernel": _kernel,
    "weighted": _weighted,
    "concat": _concat,
}


def _encoder(stated: dict[str, Any], folder: Path) -> tuple[nn.Module, Callable[..., Any]]:
    """The network with its weights, and what prepares its inputs: images one by one, or a tokenizer."""
    if stated["library"] == "timm":
        import timm
        from timm.data import create_transform

        module = timm.create_model(stated["architecture"], pretrained=False, **stated["arguments"])
        if stated["size"]:
            module.set_input_size(img_size=stated["size"])
        module.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
        return module, Prepare(create_transform(**stated["transform"], is_training=False), stated["mode"])
    import transformers

    module = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    if stated["part"] == "encoder":
        module = module.get_encoder()
    if stated["modality"] == "text":
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return module, tokenizer
    processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    return module, Prepare(partial(processor, return_tensors="pt"), stated["mode"])


class Prepare:
    """An RGB image as the network takes it: (channel, height, width) float32. `mode`: what it is made before."""

    def __init__(self, transform: Callable[[Image.Image], Any], mode: str) -> None:
        self.transform, self.mode = transform, mode

    def __call__(self, image: Image.Image) -> torch.Tensor:
        made = self.transform(image.convert(self.mode))
        pixels: torch.Tensor = made if isinstance(made, torch.Tensor) else made["pixel_values"][0]
        return pixels


def _run_transformers(module: Any, inputs: dict[str, Any], emit: Callable[..., None], stated: dict[str, Any]) -> None:
    call, options = module, dict(stated["call"])
    tower = module
    if stated["part"] in ("visual", "text"):
        images = stated["part"] == "visual"
        call = module.get_image_features if images else module.get_text_features
        tower = getattr(module, stated["tower"])
    with LayerTaps(tower, stated["blocks"], emit):
        out = call(**inputs, return_dict=True, **options)
    pooled = getattr(out, "pooler_output", None)
    if pooled is not None and set(pooled.shape[2:]) <= {1}:
        emit("pooled", pooled.flatten(1))


def _run_timm(module: Any, inputs: dict[str, Any], emit: Callable[..., None], stated: dict[str, Any]) -> None:
    pixels, stages = inputs["pixel_values"], stated["stages"]
    if stages is None:
        with LayerTaps(module, stated["blocks"], emit):
            features = module.forward_features(pixels)
    else:
        handle = None
        if stages["stem"]:
            last = getattr(module, "output_fmt", "NCHW") == "NHWC"

            def stem(_: Any, __: Any, out: torch.Tensor) -> None:
                emit("embed", out.permute(0, 3, 1, 2) if last and out.ndim == 4 else out)

            handle = module.get_submodule(stages["stem"]).register_forward_hook(stem)
        try:
            features, maps = module.forward_intermediates(pixels, output_fmt="NCHW", norm=False)
        finally:
            if handle is not None:
                handle.remove()
        for name, values in zip(stages["names"], maps, strict=True):
            emit(name, values)
    if any(name == "pooled" for name, _ in stated["layers"]):
        emit("pooled", module.forward_head(features, pre_logits=True).flatten(1))


class LayerTaps:
    """Within: the blocks emit `embed`, `block.NN` and, after the last one, `final_norm`."""

    def __init__(self, module: nn.Module, stated: dict[str, Any], emit: Callable[..., None]) -> None:
        self.blocks = [module.get_submodule(path) for path in stated["paths"]]
        self.norm = module.get_submodule(stated["norm"]) if stated["norm"] else None
        self.stated, self.emit, self.done = stated, emit, 0
        self.handles: list[Any] = []

    def __enter__(self) -> None:
        for block in self.blocks:
            self.handles.append(block.register_forward_pre_hook(self._before, with_kwargs=True))
            self.handles.append(block.register_forward_hook(self._after))

    def __exit__(self, *_: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def _out(self, name: str, values: torch.Tensor) -> None:
        if self.stated["sequence_first"] and values.ndim == 3:
            values = values.transpose(0, 1)
        if self.stated["channels_last"] and values.ndim == 4:
            values = values.permute(0, 3, 1, 2)
        self.emit(name, values)

    def _before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (*args[:1], kwargs.get("hidden_states"), *args, *kwargs.values())
        if self.done == 0:
            states = (v for v in given if isinstance(v, torch.Tensor) and v.is_floating_point() and v.ndim > 1)
            self._out("embed", next(states))

    def _after(self, _: nn.Module, __: Any, output: Any) -> None:
        while not isinstance(output, torch.Tensor):
            output = next(iter(output.values())) if isinstance(output, dict) else output[0]
        self._out(f"block.{self.done:02d}", output)
        self.done += 1
        if self.done == self.stated["calls"] and self.norm is not None:
            self._out("final_norm", self.norm(output))


def _upright(value: Any) -> Image.Image:
    """An RGB image: turned as its EXIF says, transparency on white."""
    image = Image.open(value) if isinstance(value, str | Path) else value
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    if image.mode.startswith("I") or image.mode == "F":
        raise ValueError(f"An image of mode {image.mode} has no agreed range: scale it to 0 to 255 and make it 'L'.")
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def _padded(rows: list[list[int]], longest: int, value: int) -> torch.Tensor:
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], dtype=torch.int64)


def _groups(batch: dict[str, torch.Tensor], grouping: str) -> list[tuple[list[int], dict[str, torch.Tensor]]]:
    """Which rows go through the network together, without padding unless all do: networks differ in what they bear."""
    count = len(next(iter(batch.values())))
    if grouping == "batch":
        return [(list(range(count)), batch)]
    lengths = batch["attention_mask"].sum(dim=1).tolist() if "attention_mask" in batch else [None] * count
    groups: dict[Any, list[int]] = {}
    for row, length in enumerate(lengths):
        groups.setdefault((length, row if grouping == "single" else 0), []).append(row)
    return [
        (
            rows,
            {name: values[rows] if name == "pixel_values" else values[rows, :length] for name, values in batch.items()},
        )
        for (length, _), rows in groups.items()
    ]
