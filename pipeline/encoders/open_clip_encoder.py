"""open_clip: the visual or the text tower of a contrastive model, every layer by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.blocks import find_blocks, trace_blocks
from structure.pipeline.encoders.colour import in_mode
from structure.pipeline.encoders.damage import readable
from structure.pipeline.encoders.digest import weights_digest
from structure.pipeline.encoders.hub import OPEN_CLIP_WEIGHTS, cached, not_present, snapshot, weights_in
from structure.pipeline.encoders.open_clip_text import OpenClipText
from structure.pipeline.encoders.pooling import poolings_of
from structure.pipeline.encoders.precision import Amp, parameter_count, resolve
from structure.pipeline.encoders.preprocessing_words import of_open_clip
from structure.pipeline.encoders.quiet import quiet
from structure.pipeline.encoders.spec import Spec
from structure.pipeline.encoders.taps import Emit, Taps
from structure.pipeline.encoders.timm_reading import Reading, find_reading
from structure.pipeline.encoders.tokens import pad
from structure.pipeline.encoders.torch_encoder import EncodedBatch, TorchEncoder, patch_grid, stack_images
from structure.pipeline.hub_access import hub_obstacle
from structure.store.errors import NotPresentError, StructureError, unknown


class OpenClipVision(TorchEncoder):
    """The visual tower: open_clip's own transformer or ResNet, or a timm trunk. `pooled` is the image embedding."""

    modality = "vision"

    def __init__(self, visual: Any, *, name: str, size: Sequence[int], amp: Amp, device: torch.device) -> None:
        self.name = name
        self.module = visual
        self.device = device
        self.precision = resolve(amp, device, parameters=parameter_count(visual))
        self.precision.place(visual, device)
        pixels = torch.zeros(1, 3, *size, device=device)
        self.side = int(size[0])
        self._is_map = False
        has_cls = True
        if hasattr(visual, "trunk"):
            self._reading = find_reading(visual.trunk, pixels, name=name)
            self.prefix, self.grid = self._reading.prefix, self._reading.grid
            has_cls = self.prefix > 0 and getattr(visual.trunk, "cls_token", None) is not None
        elif hasattr(visual, "layer4"):
            self._reading = Reading(Taps([visual.layer1, visual.layer2, visual.layer3, visual.layer4]))
        else:
            # The norm is the tokens' own unless pooling comes first: then it is part of what makes `pooled`.
            norm = None if visual.final_ln_after_pool or visual.attn_pool is not None else visual.ln_post
            transformer = visual.transformer
            self._reading = Reading(Taps(transformer.resblocks, norm, sequence_first=not transformer.batch_first))
            self.grid, self.prefix = patch_grid(size, visual.patch_size), 1
        self.layers = tuple(self.probe(EncodedBatch({"pixels": pixels})).layers)
        self._is_map = any(layer.form == "map" for layer in self.layers)
        if self._is_map:
            self.default_pooling, self.poolings = "mean", poolings_of("map")
            if device.type != "meta":
                self.precision.place(visual, device, channels_last=True)
        else:
            self.default_pooling = "cls" if has_cls else "mean"
            self.poolings = poolings_of("tokens", has_cls=has_cls)

    def collate(self, examples: Sequence[torch.Tensor]) -> EncodedBatch:
        return EncodedBatch({"pixels": stack_images(examples, self.device, channels_last=self._is_map)})

    def read(self, batch: EncodedBatch, emit: Emit, *, wanted: Container[str]) -> None:
        pixels = batch.inputs["pixels"]
        if self._reading.taps is not None:
            with self._reading.taps.attached(emit, wanted):
                pooled = self.module(pixels)
        else:
            features = self._reading.features(self.module.trunk, pixels, emit, wanted)
            pooled = self.module.head(self.module.trunk.forward_head(features))
        if "pooled" in wanted:
            emit("pooled", pooled[0] if isinstance(pooled, tuple) else pooled)


class OpenClipTextEncoder(TorchEncoder):
    """The text tower. Texts are padded to the full context, as in training; `pooled` is the text embedding."""

    modality = "text"
    default_pooling = "mean"

    def __init__(self, module: Any, *, name: str, text: OpenClipText | None, amp: Amp, device: torch.device) -> None:
        self.name = name
        self.module = module
        self.device = device
        self.precision = resolve(amp, device, parameters=parameter_count(module))
        self.precision.place(module, device)
        self._pad_id = text.pad_id if text is not None else 0
        self.limit = int(module.context_length) if text is None else text.limit
        tower = getattr(module, "text", module)
        resblocks = getattr(tower.transformer, "resblocks", None)
        if resblocks is not None:
            self._taps = Taps(resblocks, tower.ln_final, sequence_first=not tower.transformer.batch_first)
        else:
            inner = tower.transformer
            self._taps = Taps(find_blocks(inner, depth=getattr(inner.config, "num_hidden_layers", None), name=name))
        probe = self.collate([[1, 2]])
        if resblocks is None:
            run = torch.inference_mode()(lambda: module.encode_text(probe.inputs["ids"], normalize=False))
            self._taps.norm = trace_blocks(tower.transformer, self._taps.blocks, run).norm
        self.layers = tuple(self.probe(probe).layers)

    def collate(self, examples: Sequence[Sequence[int]]) -> EncodedBatch:
        ids, mask = pad(examples, value=self._pad_id, length=self.limit)
        return EncodedBatch({"ids": ids.to(self.device)}, mask.to(self.device))

    def read(self, batch: EncodedBatch, emit: Emit, *, wanted: Container[str]) -> None:
        with self._taps.attached(emit, wanted):
            pooled = self.module.encode_text(batch.inputs["ids"], normalize=False)
        if "pooled" in wanted:
            emit("pooled", pooled)


class OpenClipPreprocess:
    """open_clip's own evaluation transform as a picklable function: PIL image -> (3, height, width) float32 tensor."""

    def __init__(self, transform: Callable[[Any], torch.Tensor]) -> None:
        self.transform = transform

    def __call__(self, image: Any) -> torch.Tensor:
        return self.transform(in_mode(image, "RGB"))


def load(spec: Spec, *, device: torch.device, amp: Amp, revision: str | None) -> TorchEncoder:
    """One tower of ARCH/PRETRAINED, or of a local folder (`spec.model` is `local-dir`, `spec.weights` the folder).

    Raises `NotPresentError` where weights, tokenizer or text config are missing, `StructureError` for an unknown model
    or tag, or without a tower, `DamageError` for weights that cannot be read.
    """
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    _check(spec)
    with quiet():
        if spec.model == "local-dir":
            module, location = _from_folder(Path(spec.weights).expanduser())
            tokenizer_name = f"local-dir:{location}"
        else:
            module, location = _from_tag(spec.model, spec.weights, revision=revision)
            tokenizer_name = spec.model
        encoder: TorchEncoder
        provenance: dict[str, Any] = {"source": spec.source, "tower": spec.tower, "revision": revision or ""}
        provenance["dropped"] = []
        if spec.tower == "visual":
            cfg = dict(module.visual.preprocess_cfg)
            preprocess = image_transform_v2(PreprocessCfg(**cfg), is_train=False)
            size = cfg["size"] if isinstance(cfg["size"], Sequence) else (cfg["size"], cfg["size"])
            encoder = OpenClipVision(module.visual, name=spec.name, size=size, amp=amp, device=device)
            encoder.preprocess = OpenClipPreprocess(preprocess)
            provenance["preprocessing"] = {"class": "open_clip.image_transform_v2", "input_size": list(size)}
            provenance["preprocessing"]["config"] = json.loads(json.dumps(cfg))
            tower: nn.Module = module.visual
        else:
            del module.visual
            text = OpenClipText(open_clip.get_tokenizer(tokenizer_name), limit=int(module.context_length))
            encoder = OpenClipTextEncoder(module, name=spec.name, text=text, amp=amp, device=device)
            encoder.preprocess = text
            provenance["preprocessing"] = {"class": text.kind, "limit": text.limit, "padding": "full"}
            provenance["tokenizer"] = text.digest()
            tower = module
    encoder.provenance = provenance | {
        "class": type(tower).__name__,
        "weights": weights_digest(tower),
        "precision": str(encoder.precision),
        "libraries": {"open_clip": open_clip.__version__, "torch": torch.__version__},
        "location": str(location),
    }
    return encoder


def from_name(spec: Spec) -> TorchEncoder:
    """The tower without weights (meta device): layers and widths only, it cannot encode."""
    import open_clip

    _check(spec)
    meta = torch.device("meta")
    with quiet(), meta:
        name = f"local-dir:{spec.weights}" if spec.model == "local-dir" else spec.model
        module: Any = open_clip.create_model(name, load_weights=False, pretrained_text=False, device=meta)
        encoder: TorchEncoder
        if spec.tower == "visual":
            size = module.visual.image_size
            size = size if isinstance(size, Sequence) else (size, size)
            encoder = OpenClipVision(module.visual, name=spec.name, size=size, amp="off", device=meta)
        else:
            encoder = OpenClipTextEncoder(module, name=spec.name, text=None, amp="off", device=meta)
    encoder.provenance = {"source": spec.source}
    return encoder


def preprocessing_words(spec: Spec) -> str:
    """How open_clip prepares images for the model, in words; "" for texts. No weights are asked."""
    import open_clip
    from open_clip.transform import PreprocessCfg

    _check(spec)
    if spec.tower == "text":
        return ""
    if spec.model == "local-dir":
        config = json.loads((Path(spec.weights).expanduser() / "open_clip_config.json").read_text())
        model, stated = config["model_cfg"], config.get("preprocess_cfg", {})
    else:
        model = open_clip.get_model_config(spec.model) or {}
        stated = open_clip.get_pretrained_cfg(spec.model, spec.weights) or {}
    known = {"size": model["vision_cfg"].get("image_size", 224)} | dict(stated)
    fields = PreprocessCfg.__dataclass_fields__
    return of_open_clip(asdict(PreprocessCfg(**{key: known[key] for key in fields if known.get(key)})))


def present(model: str, tag: str, *, revision: str | None) -> Path | None:
    """Where the weights of ARCH/PRETRAINED lie on this machine; None where they do not."""
    import open_clip

    if Path(tag).expanduser().is_file():
        return Path(tag).expanduser()
    stated = open_clip.get_pretrained_cfg(model, tag) or {}
    repo, names = _hub_files(stated)
    folder = cached(repo, revision=revision, anchors=names) if repo else None
    return folder if folder is not None and weights_in(folder, names) else None


def _hub_files(stated: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Repository and names of its weights file, safetensors first, of one of open_clip's table entries."""
    repo, _, filename = str(stated.get("hf_hub", "")).rpartition("/")
    own = [f"{filename.rpartition('.')[0]}.safetensors", filename] if filename else []
    return repo, tuple(dict.fromkeys([*own, *OPEN_CLIP_WEIGHTS]))


def _check(spec: Spec) -> None:
    import open_clip

    if spec.model == "local-dir":
        folder = Path(spec.weights).expanduser()
        if not (folder / "open_clip_config.json").is_file():
            raise NotPresentError(f"{folder} has no open_clip_config.json: it is no open_clip model folder.")
    else:
        if spec.model not in open_clip.list_models():
            raise unknown("open_clip model", spec.model, open_clip.list_models())
        tags = open_clip.list_pretrained_tags_by_model(spec.model)
        if spec.weights not in tags and not Path(spec.weights).expanduser().is_file():
            hint = f"Write open_clip:{spec.model}/TAG."
            raise unknown(f"weights of open_clip {spec.model}", spec.weights, tags, hint=hint)
    if not spec.tower:
        raise StructureError(
            f"{spec.source} has two towers, and either could be meant. Write {spec.source}#visual or "
            f"{spec.source}#text."
        )


def _from_folder(folder: Path) -> tuple[Any, Path]:
    if weights_in(folder, OPEN_CLIP_WEIGHTS) is None:
        raise NotPresentError(
            f"{folder} holds no {OPEN_CLIP_WEIGHTS[0]}: without it the features would be random. Put it there."
        )
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    _require(config["text_cfg"].get("hf_model_name"))
    return _create(f"local-dir:{folder}", folder), folder


def _from_tag(model: str, tag: str, *, revision: str | None) -> tuple[Any, Path]:
    import open_clip

    config = open_clip.get_model_config(model)
    _require(config["text_cfg"].get("hf_model_name"))
    _require(config["text_cfg"].get("hf_tokenizer_name"))
    file = Path(tag).expanduser()
    if file.is_file():
        return _create(model, file, pretrained=str(file)), file
    stated = open_clip.get_pretrained_cfg(model, tag)
    if not stated.get("hf_hub"):
        raise NotPresentError(
            f"open_clip:{model}/{tag} is on no hub, only at {stated.get('url')}. Download it and write "
            f"open_clip:{model}//path/to/the/file instead."
        )
    repo, names = _hub_files(stated)
    folder = snapshot(repo, revision=revision, weights=names, anchors=names)
    tag_gelu, model_gelu = bool(stated.get("quick_gelu")), bool(config.get("quick_gelu"))
    if model_gelu and not tag_gelu:
        raise StructureError(
            f"{model} computes with QuickGELU, but {tag} was trained without it: the features would be off. Write "
            f"open_clip:{model.removesuffix('-quickgelu')}/{tag}."
        )
    prepare = {key: stated[key] for key in ("mean", "std", "interpolation", "resize_mode") if stated.get(key)}
    pretrained = str(weights_in(folder, names))
    return _create(
        model, folder, pretrained=pretrained, force_quick_gelu=tag_gelu, force_preprocess_cfg=prepare
    ), folder


def _create(model: str, path: Path, **options: Any) -> Any:
    import open_clip

    with readable(path):
        return open_clip.create_model(model, pretrained_text=False, weights_only=True, **options)


def _require(repo: str | None) -> None:
    """A text tower or tokenizer that lives in its own hub repository: here already, or to be had."""
    if not repo or Path(repo).is_dir():
        return
    if cached(repo, revision=None, anchors=("config.json", "tokenizer.json", "tokenizer_config.json")) is None:
        obstacle = hub_obstacle()
        if obstacle:
            raise not_present(repo, obstacle, revision=None, weights=("tokenizer.json",))
