"""One architecture of transformers: built small, saved, loaded as a user would, compared with the library itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.encoders.loading import load_encoder
from structure.store.errors import StructureError
from tests.encoders.architectures.comparison import Verdict, batch_faults, of_faults, order_faults, read
from tests.encoders.architectures.shrunken import build
from tests.encoders.conftest import TEXTS, tokenizer


def names() -> list[str]:
    """Every architecture that `AutoModel` knows."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return list(MODEL_MAPPING_NAMES)


def check(name: str, folder: Path) -> dict[str, Verdict]:
    """The verdict on the architecture, or on each of its towers; `folder` is empty and takes its files."""
    try:
        config, module = build(name)
        module.save_pretrained(folder)
        _side_files(name, config, module, folder)
    except Exception as error:  # any architecture of the library
        return {name: Verdict("not built", str(error)[:160])}
    two = hasattr(config, "text_config") and hasattr(config, "vision_config")
    return {
        f"{name}{tower}": _check(f"hf:{folder}{tower}", module) for tower in (("#visual", "#text") if two else ("",))
    }


def _side_files(name: str, config: Any, module: Any, folder: Path) -> None:
    import transformers
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

    tokenizer(folder, longest=32)
    source = module.get_encoder() if config.is_encoder_decoder else module
    if getattr(source, "main_input_name", "") in ("input_values", "input_features"):
        extractor = FEATURE_EXTRACTOR_MAPPING_NAMES.get(name, "Wav2Vec2FeatureExtractor")
        getattr(transformers, extractor)().save_pretrained(folder)
        return
    size = getattr(getattr(config, "vision_config", config), "image_size", 32) or 32
    side = size if isinstance(size, int) else size[0]
    side = side if side <= 256 else 64
    transformers.ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)


def _check(spec: str, module: Any) -> Verdict:
    try:
        encoder = load_encoder(spec)
        examples = _examples(encoder)
        faults = batch_faults(encoder, examples) if encoder.modality != "audio" else []
        for row in range(len(examples)):
            faults += _library_faults(
                encoder, module, examples[row], tower=spec.rpartition("#")[2] if "#" in spec else ""
            )
    except StructureError as error:
        return Verdict("refused", str(error))
    except Exception as error:  # any architecture of the library
        return Verdict("stopped", f"{type(error).__name__}: {str(error)[:160]}")
    return of_faults(encoder, faults)


def _examples(encoder: Encoder) -> list[Any]:
    draw = np.random.default_rng(0)
    if encoder.modality == "text":
        return [encoder.preprocess(text) for text in TEXTS]
    if encoder.modality == "vision":
        pictures = draw.integers(0, 255, (3, 40, 56, 3), dtype=np.uint8)
        return [encoder.preprocess(Image.fromarray(pixels)) for pixels in pictures]
    clips = [draw.standard_normal(length).astype(np.float32) for length in (16000, 9000)]
    return [encoder.preprocess(SimpleNamespace(samples=clip, rate=16000)) for clip in clips]


def _library_faults(encoder: Any, module: Any, example: Any, *, tower: str) -> list[str]:
    call, config = module, module.config
    if tower:
        call = module.get_image_features if tower == "visual" else module.get_text_features
    elif config.is_encoder_decoder:
        call = module.get_encoder()
    with torch.inference_mode():
        out = call(**_inputs(encoder, module, example, call), output_hidden_states=True, return_dict=True)
    theirs = [state for state in getattr(out, "hidden_states", None) or () if isinstance(state, torch.Tensor)]
    ours = {layer: hidden.values for layer, (hidden, _) in read(encoder, [example]).items()}
    # The first may be what precedes `embed` (the picture), the last what follows `final_norm` (a projection).
    faults = order_faults(ours, theirs, spare={0, len(theirs) - 1})
    pooled = getattr(out, "pooler_output", None)
    if "pooled" in ours and not torch.allclose(ours["pooled"], pooled.flatten(1), rtol=1e-3, atol=1e-4):
        faults.append("pooled is not the library's")
    return faults


def _inputs(encoder: Any, module: Any, example: Any, call: Callable[..., Any]) -> Mapping[str, torch.Tensor]:
    if encoder.modality == "audio":
        return {module.main_input_name: example.values[None]}
    if encoder.modality == "vision":
        return {"pixel_values": example[None]}
    takes = inspect.signature(call.forward if isinstance(call, torch.nn.Module) else call).parameters
    ids = torch.tensor([list(example)])
    if encoder.fixed_length:  # trained on texts padded to full length, without a mask
        ids = torch.nn.functional.pad(ids, (0, encoder.limit - ids.shape[1]), value=encoder.pad_id)
        return {"input_ids": ids}
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    return {name: value for name, value in given.items() if name in takes}
