"""timm: vision transformers block by block, other networks stage by stage, every layer by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.colour import image_mode, in_mode
from structure.pipeline.encoders.damage import readable
from structure.pipeline.encoders.digest import weights_digest
from structure.pipeline.encoders.hub import HF_WEIGHTS, snapshot, weights_in
from structure.pipeline.encoders.pooling import poolings_of
from structure.pipeline.encoders.precision import Amp, parameter_count, resolve
from structure.pipeline.encoders.preprocessing_words import of_timm
from structure.pipeline.encoders.quiet import quiet
from structure.pipeline.encoders.spec import Spec
from structure.pipeline.encoders.taps import Emit
from structure.pipeline.encoders.timm_reading import Reading, find_reading
from structure.pipeline.encoders.torch_encoder import EncodedBatch, TorchEncoder, stack_images
from structure.store.errors import DamageError, NotPresentError, StructureError, unknown


class TimmEncoder(TorchEncoder):
    """A timm model. Build with `load` or `from_name`.

    A vision transformer with a flat list of blocks, and a MobileNet or EfficientNet, are read block by block through
    hooks. Any other network is read where timm's `forward_intermediates` reads it (mostly the stages), as feature maps.
    """

    modality = "vision"

    def __init__(self, module: Any, *, name: str, size: Sequence[int], amp: Amp, device: torch.device) -> None:
        self.name = name
        self.module = module
        self.device = device
        self.precision = resolve(amp, device, parameters=parameter_count(module))
        self.precision.place(module, device)
        pixels = torch.zeros(1, *size, device=device)
        self.side = int(size[1])
        self._reading: Reading = find_reading(module, pixels, name=name)
        self.prefix, self.grid = self._reading.prefix, self._reading.grid
        self._is_map = False
        self.layers = tuple(self.probe(EncodedBatch({"pixels": pixels})).layers)
        self._is_map = any(layer.form == "map" for layer in self.layers)
        if self._is_map:
            self.default_pooling, self.poolings = "mean", poolings_of("map")
            if device.type != "meta":
                self.precision.place(module, device, channels_last=True)
        else:
            has_cls = self.prefix > 0 and getattr(module, "cls_token", None) is not None
            self.default_pooling = "cls" if has_cls else "mean"
            self.poolings = poolings_of("tokens", has_cls=has_cls)

    @property
    def reading(self) -> Reading:
        """How the layers are read."""
        return self._reading

    def collate(self, examples: Sequence[torch.Tensor]) -> EncodedBatch:
        return EncodedBatch({"pixels": stack_images(examples, self.device, channels_last=self._is_map)})

    def read(self, batch: EncodedBatch, emit: Emit, *, wanted: Container[str]) -> None:
        features = self._reading.features(self.module, batch.inputs["pixels"], emit, wanted)
        if "pooled" in wanted:
            emit("pooled", self.module.forward_head(features, pre_logits=True).flatten(1))


def arguments_of(spec: Spec) -> dict[str, Any]:
    """What `timm.create_model` is given for this model besides its name: what its folder states."""
    folder = Path(spec.weights).expanduser() if spec.weights else None
    return dict(_folder_config(spec.model, folder)["kwargs"]) if folder is not None and folder.is_dir() else {}


def load(spec: Spec, *, device: torch.device, amp: Amp, revision: str | None) -> TimmEncoder:
    """The timm model `spec.model` with its own weights, or with those in `spec.weights` (a folder or a weights file).

    A folder holds config.json {timm_name, kwargs, mean, std, input_size, interpolation, crop_pct} and
    model.safetensors. Raises `NotPresentError` where weights are missing, `StructureError` for an unknown model or
    weights that do not fit it, `DamageError` for a file that cannot be read.
    """
    import timm
    from timm.data import create_transform, resolve_data_config

    preprocessing = spec.image_preprocessing
    require_known(spec.model)
    with quiet():
        if spec.weights:
            module, location, stated = _from_path(spec)
        else:
            module, location = _from_hub(spec.model, revision=revision)
            stated = {}
        data = resolve_data_config(stated, model=module)
        data |= {"crop_pct": preprocessing.crop} if preprocessing.crop else {}
        mode = _set_channels(data, stated, name=spec.name)
        if preprocessing.size:
            data["input_size"] = (data["input_size"][0], preprocessing.size, preprocessing.size)
            _resize(module, preprocessing.size, name=spec.name)
        encoder = TimmEncoder(module, name=spec.name, size=data["input_size"], amp=amp, device=device)
        encoder.preprocess = TimmPreprocess(create_transform(**data, is_training=False), mode=mode)
    encoder.provenance = {
        "source": spec.source,
        "class": type(module).__name__,
        "revision": revision or "",
        "weights": weights_digest(module),
        "precision": str(encoder.precision),
        "preprocessing": {"class": "timm.create_transform", "input_size": list(data["input_size"][1:])}
        | {"config": json.loads(json.dumps(data, default=str))},
        "libraries": {"timm": timm.__version__, "torch": torch.__version__},
        "location": str(location),
        "dropped": [],
    }
    return encoder


def preprocessing_words(spec: Spec) -> str:
    """How timm prepares images for the model, in words; its weights are not asked."""
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg

    require_known(spec.model)
    folder = Path(spec.weights).expanduser() if spec.weights else None
    stated = _folder_config(spec.model, folder)["data"] if folder and folder.is_dir() else {}
    own = get_pretrained_cfg(spec.model)
    data = resolve_data_config(stated, pretrained_cfg={} if own is None else own.to_dict())
    asked = spec.image_preprocessing
    data |= {"crop_pct": asked.crop} if asked.crop else {}
    data |= {"input_size": (data["input_size"][0], asked.size, asked.size)} if asked.size else {}
    return of_timm(data)


def _set_channels(data: dict[str, Any], stated: Mapping[str, Any], *, name: str) -> str:
    """Make the first of `input_size` the number of channels that the model was built for (`stated["in_chans"]`), and
    return the mode that images are converted to. Raises `StructureError` as `image_mode`, and where mean and std are of
    another number of channels."""
    channels = int(stated.get("in_chans", data["input_size"][0]))
    mode = image_mode(channels, name=name)
    _check_normalisation(data, channels, name=name)
    data["input_size"] = (channels, *data["input_size"][1:])
    return mode


def _check_normalisation(data: Mapping[str, Any], channels: int, *, name: str) -> None:
    for key in ("mean", "std"):
        values = len(data.get(key, ())) or channels
        if values not in (1, channels):
            raise StructureError(
                f"{name} takes images of {channels} channel{'s' * (channels > 1)}, but {key} is stated for {values}: "
                "how its images are normalised is not known. Put one value a channel into config.json."
            )


def _resize(module: Any, side: int, *, name: str) -> None:
    """Let a transformer take another size: its position embeddings are resampled. A CNN takes any as it is."""
    if not hasattr(module, "set_input_size"):
        return
    try:
        module.set_input_size(img_size=(side, side))
    except (AssertionError, TypeError, ValueError) as error:
        raise StructureError(f"{name} cannot take images of {side} pixels: {error}") from error


def from_name(spec: Spec) -> TimmEncoder:
    """The model without weights (meta device): layers and widths only, it cannot encode."""
    import timm
    from timm.data import resolve_data_config

    require_known(spec.model)
    folder = Path(spec.weights).expanduser() if spec.weights else None
    config = _folder_config(spec.model, folder) if folder and folder.is_dir() else {"kwargs": {}, "data": {}}
    meta = torch.device("meta")
    with quiet(), meta:
        module: Any = timm.create_model(spec.model, pretrained=False, **config["kwargs"])
        data = resolve_data_config(config["data"], model=module)
        _set_channels(data, config["data"], name=spec.name)
        size = data["input_size"]
        encoder = TimmEncoder(module, name=spec.name, size=size, amp="off", device=meta)
    encoder.provenance = {"source": f"timm:{spec.model}"}
    return encoder


class TimmPreprocess:
    """timm's own evaluation transform as a picklable function: PIL image -> (channel, height, width) float32 tensor.

    `mode`: what images are converted to before, "RGB", or "L" for models of one channel."""

    def __init__(self, transform: Callable[[Any], torch.Tensor], *, mode: str) -> None:
        self.transform, self.mode = transform, mode

    def __call__(self, image: Any) -> torch.Tensor:
        return self.transform(in_mode(image, self.mode))


def require_known(model: str) -> None:
    """Raise `StructureError`, with the nearest names, where timm has no such architecture or no such weights."""
    import timm

    architecture = model.split(".")[0]
    if not timm.is_model(architecture):
        raise unknown("timm model", model, timm.list_models())
    tagged = timm.list_pretrained(f"{architecture}*")
    if "." in model and model not in tagged:
        raise unknown("timm model", model, tagged)


def _from_hub(model: str, *, revision: str | None) -> tuple[nn.Module, Path]:
    import timm
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(model)
    if cfg is None or not cfg.hf_hub_id:
        raise NotPresentError(
            f"timm has no weights for {model} on the hub. Name one of timm.list_pretrained('{model.split('.')[0]}*'), "
            f"or your own as timm:{model}@/path/to/weights.safetensors."
        )
    names = tuple(dict.fromkeys([*([cfg.hf_hub_filename] if cfg.hf_hub_filename else []), *HF_WEIGHTS]))
    folder = snapshot(cfg.hf_hub_id, revision=revision, weights=names)
    file = weights_in(folder, names)
    with readable(folder):
        module = timm.create_model(model, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
    return module, folder


def _from_path(spec: Spec) -> tuple[nn.Module, Path, dict[str, Any]]:
    import timm
    from timm.models import load_checkpoint

    model, path = spec.model, Path(spec.weights).expanduser()
    if not path.exists():
        raise NotPresentError(
            f"{path} does not exist. timm:{model}@PATH wants a folder with config.json and model.safetensors, or a "
            "weights file."
        )
    stated: dict[str, Any] = {}
    kwargs: dict[str, Any] = {}
    file: Path | None = path
    if path.is_dir():
        config = _folder_config(model, path)
        kwargs, stated = config["kwargs"], config["data"]
        file = weights_in(path)
        if file is None:
            raise NotPresentError(f"{path} holds no model.safetensors: without it the features would be random.")
    assert file is not None
    with readable(path):
        module = timm.create_model(model, pretrained=False, **kwargs)
        if spec.in_order:
            _load_in_order(module, file)
        else:
            load_checkpoint(module, str(file), strict=True)
    return module, path, stated


def _load_in_order(module: nn.Module, file: Path) -> None:
    """Load tensors that have other names than the model's and its order. Raises `StructureError` where their number or
    a shape is another."""
    from timm.models import load_state_dict

    theirs, ours = load_state_dict(str(file)), module.state_dict()
    shapes = [[tuple(tensor.shape) for tensor in tensors.values()] for tensors in (theirs, ours)]
    if shapes[0] != shapes[1]:
        raise StructureError(
            f"{file} has {len(theirs)} tensors and the model {len(ours)}, or their shapes differ: they cannot be "
            "matched by their order."
        )
    module.load_state_dict(dict(zip(ours, theirs.values(), strict=True)), strict=True)


def _folder_config(model: str, folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise NotPresentError(
            f"{folder} has no config.json with timm_name, kwargs, mean, std, input_size, interpolation."
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DamageError(f"{path} is not JSON ({error}).") from error
    named = str(config.get("timm_name", config.get("architecture", model)))
    if named.split(".")[0] != model.split(".")[0]:
        raise StructureError(f"{path} is for {named}, but the spec says {model}. Write timm:{named}@{folder}.")
    kwargs = dict(config.get("kwargs", config.get("model_args", {})))
    if "num_classes" in config:
        kwargs.setdefault("num_classes", config["num_classes"])
    stated = dict(config.get("pretrained_cfg", config))
    size = stated.get("input_size")
    data = {key: stated[key] for key in ("mean", "std", "interpolation", "crop_pct", "crop_mode") if key in stated}
    if size is not None:
        sides = (size, size) if isinstance(size, int) else tuple(size)
        data["input_size"] = (kwargs.get("in_chans", 3), *sides) if len(sides) == 2 else sides
    if "in_chans" in kwargs:
        data["in_chans"] = kwargs["in_chans"]
        _check_normalisation(data, int(kwargs["in_chans"]), name=model)
    return {"kwargs": kwargs, "data": data}
