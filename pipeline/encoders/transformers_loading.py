"""From a Hugging Face model folder to an encoder; the network is never asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from structure.pipeline.device import few_threads
from structure.pipeline.encoders.damage import readable
from structure.pipeline.encoders.device_placement import fitting, require_memory
from structure.pipeline.encoders.digest import weights_digest
from structure.pipeline.encoders.hub import weights_in
from structure.pipeline.encoders.library_errors import first_line
from structure.pipeline.encoders.other_libraries import refuse_other_libraries
from structure.pipeline.encoders.precision import Amp, Precision, multiplies_in_bfloat16, parameter_count, resolve
from structure.pipeline.encoders.preprocessing_words import of_image_processor
from structure.pipeline.encoders.quiet import quiet, without_collector
from structure.pipeline.encoders.sentence_conventions import read_conventions
from structure.pipeline.encoders.spec import Spec
from structure.pipeline.encoders.text_prompt import refuse_prompt
from structure.pipeline.encoders.tokens import TextPreprocess
from structure.pipeline.encoders.torch_encoder import EncodedBatch
from structure.pipeline.encoders.transformers_audio import AudioEncoder, prepare_audio
from structure.pipeline.encoders.transformers_encoder import WAVES, TransformersEncoder, has_two_towers
from structure.pipeline.encoders.transformers_images import (
    IMAGE_FILES,
    image_channels,
    image_processor,
    prepare_images,
)
from structure.pipeline.encoders.transformers_text import prepare_text, text_preprocess, text_words
from structure.store.errors import NotPresentError, StructureError

_OTHER_TOWER = {"visual": ("text_model", "text_projection"), "text": ("vision_model", "visual_projection")}


def load(
    folder: Path, spec: Spec, *, device: torch.device, amp: Amp, revision: str | None, trust_remote_code: bool
) -> TransformersEncoder:
    """The model in `folder` (config.json, weights, and preprocessor or tokenizer files), never from the network.

    Raises `NotPresentError` for a missing file, `DamageError` for weights that cannot be read, `StructureError` for a
    model that is no encoder, lacks weights, or has two towers where none was chosen.
    """
    import transformers

    config = _config(folder, spec, trust_remote_code=trust_remote_code)
    _check_tower(config, spec)
    weights = weights_in(folder)
    if weights is None:
        raise NotPresentError(f"{folder} holds no complete weights. Put model.safetensors (all of its shards) there.")
    if not spec.placement:
        require_memory(weights, device, name=spec.source)
    with quiet(), fitting(spec.source, device):
        precision = _precision(config, amp=amp, device=device, trust_remote_code=trust_remote_code)
        placed = spec.placement.arguments(device, precision.dtype or torch.float32)
        module, missing = _module(folder, config, placed, precision=precision, trust_remote_code=trust_remote_code)
        bits = spec.placement.bits
        dropped = _refuse_random(missing, spec)
        for other in _OTHER_TOWER.get(spec.tower, ()) if has_two_towers(module) else ():
            if hasattr(module, other):
                delattr(module, other)
        kind = AudioEncoder if getattr(module, "main_input_name", "") in WAVES else TransformersEncoder
        encoder = kind(module, name=spec.name, tower=spec.tower, precision=precision, device=device)
        encoder.has_pooled = not dropped
        provenance: dict[str, Any] = {
            "source": spec.source,
            "class": type(module).__name__,
            "tower": spec.tower,
            "revision": revision or "",
            "weights": weights_digest(module),
            "precision": f"{encoder.precision}{f', weights in {bits} bits' if bits else ''}",
            "libraries": {"transformers": transformers.__version__, "torch": torch.__version__},
            "location": str(folder),
            "dropped": dropped,
        }
        with few_threads(parameter_count(module)):
            provenance |= _prepared(encoder, folder, spec, trust_remote_code=trust_remote_code)
    encoder.provenance = provenance
    return encoder


def _prepared(encoder: TransformersEncoder, folder: Path, spec: Spec, *, trust_remote_code: bool) -> dict[str, Any]:
    """Give the encoder its preprocessing and its layers; the provenance's part on preprocessing. Raises StructureError
    for options that have no effect there."""
    if encoder.modality != "text":
        refuse_prompt(spec.prompt, name=spec.source)
    if encoder.modality == "vision":
        return {"preprocessing": prepare_images(encoder, folder, spec.image_preprocessing)}
    if spec.image_preprocessing:
        raise StructureError(
            f"{spec.source} reads no images: ?{spec.image_preprocessing} has no effect there. Leave it out."
        )
    if isinstance(encoder, AudioEncoder):
        return {"preprocessing": prepare_audio(encoder, folder)}
    preprocessing, digest = prepare_text(encoder, folder, spec.prompt, trust_remote_code=trust_remote_code)
    return {"preprocessing": preprocessing, "tokenizer": digest}


def from_config(folder: Path, spec: Spec, *, trust_remote_code: bool) -> TransformersEncoder:
    """The model of `folder`'s config.json without weights (meta device): layers and widths only, it cannot encode."""
    import transformers

    meta = torch.device("meta")
    config = _config(folder, spec, trust_remote_code=trust_remote_code)
    _check_tower(config, spec)
    with quiet(), meta:
        module = transformers.AutoModel.from_config(config, trust_remote_code=trust_remote_code)
        module = _encoder_of(module)
        # Without a pad id no warning looks for padding among ids that have no values.
        module.config.pad_token_id = None
    audio = getattr(module, "main_input_name", "") in WAVES
    kind = AudioEncoder if audio else TransformersEncoder
    encoder = kind(module, name=spec.name, tower=spec.tower, precision=Precision(None), device=meta)
    if isinstance(encoder, AudioEncoder):
        probe = encoder.blank()
    elif encoder.modality == "vision":
        size = getattr(encoder.config, "image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        channels = image_channels(encoder.config, name=spec.source)
        probe = EncodedBatch({"pixel_values": torch.zeros(1, channels, height, width, device=meta)})
    else:
        probe = EncodedBatch({"input_ids": torch.zeros(1, 3, dtype=torch.int64, device=meta)})
    with quiet():
        encoder.settle(probe)
    if encoder.modality == "text":
        encoder.default_pooling = read_conventions(folder).pooling or "mean"
    encoder.provenance = {"source": spec.source}
    return encoder


def preprocessing_words(folder: Path, spec: Spec) -> str:
    """How the model in `folder` prepares images or texts, in words; "" for audio clips and where files are missing."""
    with quiet():
        if spec.tower != "text" and any((folder / name).is_file() for name in IMAGE_FILES):
            try:
                processor = image_processor(folder, spec.image_preprocessing, name=spec.name)
            except (OSError, ValueError):  # a feature extractor of audio clips
                return ""
            return of_image_processor(processor.to_dict())
        if spec.tower == "visual" or not (folder / "tokenizer_config.json").is_file():
            return ""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        try:
            return text_words(folder, SimpleNamespace(**config.get("text_config", config)), spec.prompt)
        except NotPresentError:  # a tokenizer that only code of the checkpoint's own could read
            return ""


def _config(folder: Path, spec: Spec, *, trust_remote_code: bool) -> Any:
    import transformers

    refuse_other_libraries(folder, spec)
    try:
        config: Any = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (ValueError, OSError, KeyError, json.JSONDecodeError) as error:
        if "trust_remote_code" in str(error):
            raise StructureError(
                f"The model in {folder} brings its own code, which is not run unasked. Read it, then pass "
                "--trust-remote-code."
            ) from error
        raise StructureError(f"{folder / 'config.json'} cannot be read: {first_line(error)}") from error
    if config.model_type in ("clap", "clap_audio_model"):
        raise StructureError(
            f"{spec.source} is a CLAP model, which is not read here: its feature extractor marks one short audio clip "
            "of every batch as long, at random, and its features follow. Extract features elsewhere, one audio clip "
            "at a time, and import them with `structure import`."
        )
    if config.model_type == "vit_mae":
        raise StructureError(
            "transformers' ViTMAE hides a random three quarters of every image, so that its features differ from run "
            "to run. Use the same weights as timm:vit_base_patch16_224.mae."
        )
    return config


def _check_tower(config: Any, spec: Spec) -> None:
    two = hasattr(config, "text_config") and (hasattr(config, "vision_config") or hasattr(config, "image_config"))
    source = spec.both_towers
    if two and not spec.tower:
        raise StructureError(
            f"{source} has two towers, and either could be meant. Write {source}#visual or {source}#text."
        )
    if spec.tower and not two:
        raise StructureError(f"{source} has a single tower, so #{spec.tower} picks nothing. Write {source}.")


def _module(
    folder: Path, config: Any, placed: Mapping[str, Any], *, precision: Precision, trust_remote_code: bool
) -> tuple[nn.Module, list[str]]:
    """The model with its weights, `placed` as the spec asks, and the names of those that the checkpoint lacks."""
    with without_collector():
        import transformers.modeling_utils

    config.use_cache = False
    with readable(folder):
        module, info = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=precision.weights,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **placed,
        )
    if info["mismatched_keys"]:
        raise StructureError(
            f"{len(info['mismatched_keys'])} weights in {folder} have another shape than its config.json says, first "
            f"{min(map(str, info['mismatched_keys']))}: the two do not belong together."
        )
    encoder = _encoder_of(module)
    missing = set(info["missing_keys"])
    if encoder is not module:  # a checkpoint of the encoder alone lacks the decoder, which is not read
        missing &= _names_within(module, encoder)
    return encoder, sorted(missing)


def _names_within(module: nn.Module, part: nn.Module) -> set[str]:
    """What `module` calls the tensors of its `part`."""
    inside = {id(tensor) for tensor in (*part.parameters(), *part.buffers())}
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return {name for name, tensor in named if id(tensor) in inside}


def _precision(config: Any, *, amp: Amp, device: torch.device, trust_remote_code: bool) -> Precision:
    """Resolved before the weights are read, as a large model's weights are read in 16 bits."""
    import transformers

    if amp == "off" or (amp == "auto" and device.type == "cpu" and not multiplies_in_bfloat16()):
        return resolve("off", device)
    with torch.device("meta"):
        shape = transformers.AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    return resolve(amp, device, parameters=parameter_count(shape))


def _encoder_of(module: Any) -> nn.Module:
    """The encoder of a model that has a decoder, also where the checkpoint is of the encoder alone and its config says
    that there is no decoder."""
    alone = any(name.endswith("EncoderModel") for name in module.config.architectures or ())
    encoder: nn.Module = module.get_encoder() if module.config.is_encoder_decoder or alone else module
    return encoder


def _refuse_random(missing: Sequence[str], spec: Spec) -> list[str]:
    """Weights that the checkpoint lacks: the pooler's drop the layer `pooled`, any other's refuse the model."""
    others = _OTHER_TOWER.get(spec.tower, ())
    mine = [key for key in missing if key.split(".")[0] not in others]
    elsewhere = [key for key in mine if "pooler" not in key.split(".")]
    if elsewhere:
        raise StructureError(
            f"The checkpoint of {spec.source} lacks {len(elsewhere)} of the model's weights, first {elsewhere[0]}. "
            "They would be random, and so would the features. Take a complete checkpoint."
        )
    return ["pooled: the checkpoint has no pooler weights"] if mine else []


def load_tokenizer(folder: Path, spec: Spec, *, trust_remote_code: bool) -> TextPreprocess:
    """The preprocessing of the text model in `folder`, without weights. Raises `StructureError` for no text model."""
    encoder = from_config(folder, spec, trust_remote_code=trust_remote_code)
    if encoder.modality != "text":
        raise StructureError(f"{spec.source} reads no text, so it has no tokenizer. Name a text model.")
    return text_preprocess(encoder, folder, spec.prompt, trust_remote_code=trust_remote_code)
