"""From a Hugging Face model folder to an encoder; the network is never asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from structure.pipeline.encoders.damage import readable
from structure.pipeline.encoders.device_placement import fitting, require_memory
from structure.pipeline.encoders.digest import tokenizer_digest, weights_digest
from structure.pipeline.encoders.hub import weights_in
from structure.pipeline.encoders.image_preprocessing import ImagePreprocessing
from structure.pipeline.encoders.precision import Amp, Precision, multiplies_in_bfloat16, parameter_count, resolve
from structure.pipeline.encoders.quiet import quiet
from structure.pipeline.encoders.spec import Spec
from structure.pipeline.encoders.tokens import TextPreprocess, padding_id
from structure.pipeline.encoders.torch_encoder import EncodedBatch
from structure.pipeline.encoders.transformers_audio import AudioEncoder, prepare_audio
from structure.pipeline.encoders.transformers_encoder import (
    WAVES,
    TransformersEncoder,
    TransformersPreprocess,
    has_two_towers,
)
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

    config = _config(folder, trust_remote_code=trust_remote_code)
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
        if encoder.modality == "vision":
            provenance["preprocessing"] = _prepare_images(encoder, folder, spec.image_preprocessing)
        elif spec.image_preprocessing:
            raise StructureError(
                f"{spec.source} reads no images: ?{spec.image_preprocessing} has no effect there. Leave it out."
            )
        elif isinstance(encoder, AudioEncoder):
            provenance["preprocessing"] = prepare_audio(encoder, folder)
        else:
            provenance["preprocessing"], provenance["tokenizer"] = _prepare_text(encoder, folder, trust_remote_code)
    encoder.provenance = provenance
    return encoder


def from_config(folder: Path, spec: Spec, *, trust_remote_code: bool) -> TransformersEncoder:
    """The model of `folder`'s config.json without weights (meta device): layers and widths only, it cannot encode."""
    import transformers

    meta = torch.device("meta")
    config = _config(folder, trust_remote_code=trust_remote_code)
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
        probe = EncodedBatch({"pixel_values": torch.zeros(1, 3, height, width, device=meta)})
    else:
        probe = EncodedBatch({"input_ids": torch.zeros(1, 2, dtype=torch.int64, device=meta)})
    with quiet():
        encoder.settle(probe)
    encoder.provenance = {"source": spec.source}
    return encoder


def _config(folder: Path, *, trust_remote_code: bool) -> Any:
    import transformers

    if not (folder / "config.json").is_file():
        raise NotPresentError(f"{folder} has no config.json: it is no Hugging Face model folder. Point to one that is.")
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
        raise StructureError(f"{folder / 'config.json'} cannot be read: {_first_line(error)}") from error
    if config.model_type == "vit_mae":
        raise StructureError(
            "transformers' ViTMAE hides a random three quarters of every image, so that its features differ from run "
            "to run. Use the same weights as timm:vit_base_patch16_224.mae."
        )
    return config


def _check_tower(config: Any, spec: Spec) -> None:
    two = hasattr(config, "vision_config") and hasattr(config, "text_config")
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
    import transformers

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
    return _encoder_of(module), sorted(info["missing_keys"])


def _precision(config: Any, *, amp: Amp, device: torch.device, trust_remote_code: bool) -> Precision:
    """Resolved before the weights are read, as a large model's weights are read in 16 bits."""
    import transformers

    if amp == "off" or (amp == "auto" and device.type == "cpu" and not multiplies_in_bfloat16()):
        return resolve("off", device)
    with torch.device("meta"):
        shape = transformers.AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    return resolve(amp, device, parameters=parameter_count(shape))


def _encoder_of(module: Any) -> nn.Module:
    encoder: nn.Module = module.get_encoder() if module.config.is_encoder_decoder else module
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


def _prepare_images(encoder: TransformersEncoder, folder: Path, asked: ImagePreprocessing) -> dict[str, Any]:
    import transformers
    from PIL import Image

    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        if asked:
            options = asked.of_processor(processor, name=encoder.name)
            processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError) as error:
        raise NotPresentError(
            f"{folder} does not say how its images are prepared (preprocessor_config.json: {_first_line(error)}). "
            "Guessing size or normalisation would change every feature. Put the model's own file there."
        ) from error
    preprocess = TransformersPreprocess(processor)
    sizes = {tuple(preprocess(Image.new("RGB", size)).shape) for size in ((96, 64), (64, 96), (300, 200))}
    if len(sizes) != 1 or len(next(iter(sizes))) != 3:
        raise StructureError(
            f"The preprocessing of {folder} gives {sorted(sizes)} for images of different shape: they cannot form "
            "batches. Give preprocessor_config.json a fixed size (do_resize with height and width, or a centre crop)."
        )
    shape = next(iter(sizes))
    encoder.preprocess = preprocess
    encoder.settle(
        EncodedBatch({"pixel_values": torch.zeros(1, *shape, device=encoder.device, dtype=encoder.precision.weights)})
    )
    return {
        "class": type(processor).__name__,
        "backend": "pil" if type(processor).__name__.endswith("Pil") else "torchvision",
        "input_size": list(shape[1:]),
        "config": json.loads(processor.to_json_string()),
    }


def load_tokenizer(folder: Path, spec: Spec, *, trust_remote_code: bool) -> TextPreprocess:
    """The preprocessing of the text model in `folder`, without weights. Raises `StructureError` for no text model."""
    encoder = from_config(folder, spec, trust_remote_code=trust_remote_code)
    if encoder.modality != "text":
        raise StructureError(f"{spec.source} reads no text, so it has no tokenizer. Name a text model.")
    tokenizer = _tokenizer(folder, trust_remote_code)
    return TextPreprocess(tokenizer, limit=text_limit(encoder.tower, encoder.config, tokenizer))


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotPresentError(
            f"{folder} holds no tokenizer that can be read ({_first_line(error)}). Put tokenizer.json and "
            "tokenizer_config.json of the same model there."
        ) from error


def _prepare_text(encoder: TransformersEncoder, folder: Path, trust_remote_code: bool) -> tuple[dict[str, Any], str]:
    tokenizer = _tokenizer(folder, trust_remote_code)
    encoder.vocabulary = int(encoder.tower.get_input_embeddings().num_embeddings)  # type: ignore[operator]
    encoder.limit = text_limit(encoder.tower, encoder.config, tokenizer)
    encoder.pad_id = padding_id(tokenizer, vocabulary=encoder.vocabulary)
    encoder.preprocess = TextPreprocess(tokenizer, limit=encoder.limit)
    encoder._is_map = False
    encoder.settle(encoder.collate([encoder.preprocess("a")]))
    values = {
        "class": type(tokenizer).__name__,
        "limit": encoder.limit,
        "padding": "full" if encoder.fixed_length else "batch",
    }
    return values, tokenizer_digest(tokenizer)


def text_limit(tower: nn.Module, config: Any, tokenizer: Any) -> int | None:
    """The most tokens a text may have: what the tokenizer states, or what the position table holds, if less.

    A table with a padding row (RoBERTa, MPNet) starts counting after it. None where neither says.
    """
    limits = []
    if tokenizer.model_max_length < 1_000_000:
        limits.append(int(tokenizer.model_max_length))
    tables = [
        module
        for path, module in tower.named_modules()
        if isinstance(module, nn.Embedding)
        and path.rpartition(".")[2] in ("position_embeddings", "position_embedding", "wpe")
    ]
    if tables:
        table = tables[0]
        limits.append(table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1))
    elif getattr(config, "max_position_embeddings", 0) and config.max_position_embeddings > 0:
        limits.append(int(config.max_position_embeddings))
    return min(limits) if limits else None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
