"""From a model's name to an `Encoder`, or to a description of it without weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structure.pipeline.encoders import hub
from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.encoders.layer import Layer, Modality, Pooling
from structure.pipeline.encoders.model_names import Spec, parse_spec
from structure.store.errors import NotPresentError, StructureError, UsageError, unknown

if TYPE_CHECKING:
    from structure.pipeline.encoders.encoder import Encoder
    from structure.pipeline.encoders.precision import Amp
    from structure.pipeline.encoders.tokens import TextPreprocess


@dataclass(frozen=True)
class Description:
    """What a model is, known without its weights. `parameters` and `input` are 0 where they are not known.

    `input`: as of `Alias`. `present`: whether the weights are on this
    machine. `weights`: where they are or come from.
    """

    name: str
    spec: str
    modality: Modality
    layers: tuple[Layer, ...]
    default_pooling: Pooling
    parameters: int
    input: int
    present: bool
    weights: str
    note: str = ""
    poolings: tuple[Pooling, ...] = field(default=("cls", "mean", "last", "max"))


def load_encoder(
    spec: str,
    *,
    device: str = "cpu",
    amp: Amp = "off",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Encoder:
    """The frozen encoder that `spec` (an alias or library:model) names, on `device`, ready to encode.

    `amp`: "off" is float32, "bf16" and "fp16" autocast, "auto" bf16 on a GPU and float32 on a CPU; what was used is in
    `provenance["precision"]`. `revision`: a branch, tag or commit of a hub repository. Raises `NotPresentError` within
    ten seconds where weights are neither here nor to be had, `UsageError` and `StructureError` for names and models
    that do not exist or cannot be read, `DamageError` for broken files.
    """
    from structure.pipeline.encoders.precision import checked_device

    parsed = parse_spec(spec)
    where = checked_device(device)
    shared: dict[str, Any] = {"name": parsed.name, "source": parsed.source, "device": where, "amp": amp}
    if parsed.placement and parsed.library not in ("hf", "bundled"):
        raise UsageError(f"{parsed}: only models of transformers are rounded or spread. Leave out ?{parsed.placement}.")
    if parsed.library == "timm":
        from structure.pipeline.encoders import timm_encoder

        _no_pin(parsed, revision if parsed.weights else None)
        return timm_encoder.load(
            parsed.model, weights=parsed.weights, revision=revision, framing=parsed.framing, **shared
        )
    if parsed.library == "open_clip":
        from structure.pipeline.encoders import open_clip_encoder

        _no_pin(parsed, revision if parsed.model == "local-dir" else None)
        if parsed.framing:
            raise UsageError(f"{parsed}: open_clip's towers keep their own size and crop. Leave out ?{parsed.framing}.")
        return open_clip_encoder.load(
            parsed.model, weights=parsed.weights, tower=parsed.tower, revision=revision, **shared
        )
    from structure.pipeline.encoders import transformers_loading

    folder = _local_folder(parsed)
    if folder is None:
        folder = hub.snapshot(parsed.model, revision=revision)
        # The snapshot's folder is named after the commit, which says more than the branch that was asked for.
        revision = folder.name
    else:
        _no_pin(parsed, revision)
    return transformers_loading.load(
        folder,
        tower=parsed.tower,
        trust_remote_code=trust_remote_code,
        revision=revision,
        framing=parsed.framing,
        placement=parsed.placement,
        **shared,
    )


def describe(spec: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Description:
    """Layers and widths of a model, without its weights: from the alias table, else built on the meta device.

    An `hf:` repository needs its config.json in the hub's cache; a timm or open_clip name needs nothing. Raises as
    `load_encoder` does.
    """
    parsed = parse_spec(spec)
    alias = catalogue().get(parsed.alias) if parsed.alias else None
    where = _present(parsed, revision)
    if alias is not None:
        return Description(
            alias.name,
            alias.spec,
            alias.modality,
            alias.layers,
            alias.pooling,
            alias.parameters,
            alias.input,
            where is not None,
            str(where) if where is not None else alias.weights,
            alias.note,
            ("mean", "max") if alias.form == "map" else ("cls", "mean", "last", "max"),
        )
    encoder: Any
    if parsed.library == "timm":
        from structure.pipeline.encoders import timm_encoder

        encoder = timm_encoder.from_name(parsed.model, weights=parsed.weights, name=parsed.name)
    elif parsed.library == "open_clip":
        from structure.pipeline.encoders import open_clip_encoder

        encoder = open_clip_encoder.from_name(
            parsed.model, weights=parsed.weights, name=parsed.name, tower=parsed.tower
        )
    else:
        from structure.pipeline.encoders import transformers_loading

        folder = _local_folder(parsed) or hub.cached(parsed.model, revision=revision)
        if folder is None:
            raise hub.not_present(parsed.model, "a description needs its config.json", revision=revision)
        encoder = transformers_loading.from_config(
            folder, name=parsed.name, source=parsed.source, tower=parsed.tower, trust_remote_code=trust_remote_code
        )
    return Description(
        encoder.name,
        str(parsed),
        encoder.modality,
        encoder.layers,
        encoder.default_pooling,
        sum(parameter.numel() for parameter in encoder.module.parameters()),
        encoder.limit or encoder.side or 0,
        where is not None,
        str(where or ""),
        "",
        encoder.poolings,
    )


def load_tokenizer(spec: str, *, trust_remote_code: bool = False) -> TextPreprocess:
    """How a text model cuts texts into tokens, and its limit, without its weights. Raises as `describe`, and
    StructureError for a model that reads no text or is none of transformers'."""
    parsed = parse_spec(spec)
    folder = None
    if parsed.library in ("hf", "bundled"):
        folder = _local_folder(parsed) or hub.cached(parsed.model, revision=None)
        if folder is None:
            raise hub.not_present(parsed.model, "its tokenizer and config.json are needed", revision=None)
    if folder is None:
        raise StructureError(f"{parsed} has no tokenizer that is read alone. Name an hf: or bundled: text model.")
    from structure.pipeline.encoders import transformers_loading

    return transformers_loading.load_tokenizer(
        folder, source=parsed.source, tower=parsed.tower, trust_remote_code=trust_remote_code
    )


def weights_stamp(spec: str) -> str:
    """What tells that a model's files may have changed: their names, sizes and times, as a digest; for a repository of
    the hub the commit of its snapshot. "" where the model is not on this machine. Nothing is read or downloaded."""
    parsed = parse_spec(spec)
    place = _present(parsed, None)
    if place is None:
        return ""
    if place.parent.name == "snapshots":
        return place.name
    names = [place] if place.is_file() else sorted(path for path in place.iterdir() if path.is_file())
    told = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in names]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _local_folder(parsed: Spec) -> Path | None:
    """The folder of a bundled or local model; None for a hub repository."""
    if parsed.library == "bundled":
        root = files("structure.pipeline.encoders") / "bundled"
        names = sorted(entry.name for entry in root.iterdir() if (entry / "config.json").is_file())
        if parsed.model not in names:
            raise unknown("bundled model", parsed.model, names)
        return Path(str(root / parsed.model))
    folder = parsed.folder
    if folder is not None and not folder.is_dir():
        raise NotPresentError(f"{folder} is not a folder on this machine. Check the path in {parsed}.")
    return folder


def _present(parsed: Spec, revision: str | None) -> Path | None:
    """Where the weights lie on this machine; None where they do not."""
    if parsed.library in ("hf", "bundled"):
        folder = _local_folder(parsed) or hub.cached(parsed.model, revision=revision)
        return folder if folder is not None and hub.weights_in(folder) else None
    if parsed.weights and (parsed.library == "timm" or parsed.model == "local-dir"):
        place = Path(parsed.weights).expanduser()
        return place if place.exists() else None
    if parsed.library == "timm":
        return hub.cached(f"timm/{parsed.model}", revision=revision, anchors=hub.HF_WEIGHTS)
    from structure.pipeline.encoders import open_clip_encoder

    return open_clip_encoder.present(parsed.model, parsed.weights, revision=revision)


def _no_pin(parsed: Spec, revision: str | None) -> None:
    if revision is not None:
        raise UsageError(f"--revision {revision} pins a hub repository, but {parsed} is a local folder. Leave it out.")
