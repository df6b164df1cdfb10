"""From a model's name to an `Encoder`, or to a description of it without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.encoders.layer import Layer, Modality
from structure.pipeline.encoders.library import files_stamp
from structure.pipeline.encoders.library_errors import library_errors
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.encoders.pooling import POOLINGS, Pooling, poolings_of
from structure.pipeline.encoders.registry import library_of

if TYPE_CHECKING:
    from structure.pipeline.encoders.encoder import Encoder
    from structure.pipeline.encoders.precision import Amp
    from structure.pipeline.encoders.tokens import TextPreprocess


@dataclass(frozen=True)
class Description:
    """What a model is, known without its weights. `parameters` and `input` are 0 where they are not known.

    `input`: as of `Alias`. `preprocessing`: how inputs are prepared, in words, "" where only files that are not on this
    machine would say. `present`: whether the weights are on this machine. `weights`: where they are or come from.
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
    poolings: tuple[Pooling, ...] = tuple(POOLINGS)
    preprocessing: str = ""


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
    parsed = parse_spec(spec)
    from structure.pipeline.encoders.precision import checked_device  # imports torch: after the name was understood

    chosen = checked_device(device)
    with library_errors(str(parsed)):
        return library_of(parsed).load(
            parsed, device=chosen, amp=amp, revision=revision, trust_remote_code=trust_remote_code
        )


def describe(spec: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Description:
    """Layers and widths of a model, without its weights: from the alias table, else built on the meta device.

    An `hf:` repository needs its config.json in the hub's cache; a timm or open_clip name needs nothing. Raises as
    `load_encoder` does.
    """
    parsed = parse_spec(spec)
    alias = catalogue().get(parsed.alias) if parsed.alias else None
    weights = library_of(parsed).find_weights(parsed, revision=revision)
    with library_errors(str(parsed)):
        preprocessing = library_of(parsed).preprocessing(parsed, revision=revision)
    if alias is not None:
        return Description(
            alias.name,
            alias.spec,
            alias.modality,
            alias.layers,
            alias.pooling,
            alias.parameters,
            alias.input,
            weights is not None,
            alias.weights if weights is None else str(weights),
            alias.note,
            poolings_of(alias.form),
            preprocessing,
        )
    with library_errors(str(parsed)):
        encoder = library_of(parsed).outline(parsed, revision=revision, trust_remote_code=trust_remote_code)
    return Description(
        encoder.name,
        str(parsed),
        encoder.modality,
        encoder.layers,
        encoder.default_pooling,
        encoder.parameters,
        encoder.input_size,
        weights is not None,
        library_of(parsed).origin(parsed) if weights is None else str(weights),
        "",
        encoder.poolings,
        preprocessing,
    )


def load_tokenizer(spec: str, *, trust_remote_code: bool = False) -> TextPreprocess:
    """How a text model cuts texts into tokens, and its limit, without its weights. Raises as `describe`, and
    StructureError for a model that reads no text or whose library cannot read a tokenizer alone."""
    parsed = parse_spec(spec)
    with library_errors(str(parsed)):
        return library_of(parsed).tokenizer(parsed, trust_remote_code=trust_remote_code)


def weights_stamp(spec: str) -> str:
    """What tells that a model's files may have changed: their names, sizes and times, as a digest; for a repository of
    the hub the commit of its snapshot. "" where the model is not on this machine. Nothing is read or downloaded."""
    parsed = parse_spec(spec)
    weights = library_of(parsed).find_weights(parsed, revision=None)
    return "" if weights is None else files_stamp(weights)
