"""A model folder of another library that was named as one of transformers: what to write instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from structure.pipeline.encoders.sentence_conventions import transformer_folder
from structure.pipeline.encoders.spec import Spec
from structure.store.errors import DamageError, NotPresentError, StructureError


def refuse_other_libraries(folder: Path, spec: Spec) -> None:
    """Raise `StructureError` with the right name where `folder` holds a model of timm or of open_clip alone, and
    `NotPresentError` where it holds no config.json at all; `DamageError` for one that is no JSON."""
    path = folder / "config.json"
    open_clip = (folder / "open_clip_config.json").is_file()
    if not path.is_file():
        if open_clip:
            raise _written(spec, "open_clip", f"open_clip:local-dir:{folder}#{spec.tower or 'visual'}")
        inner = transformer_folder(folder)
        if inner is not None and (inner / "config.json").is_file():
            raise StructureError(f"The transformer of {spec.source} lies in a folder of its own. Write hf:{inner}.")
        raise NotPresentError(f"{folder} has no config.json: it is no Hugging Face model folder. Point to one that is.")
    config = _read(path)
    if "model_type" in config and config["model_type"] != "timm_wrapper":
        return
    architecture = str(config.get("timm_name") or config.get("architecture") or "")
    if architecture:
        owner, _, name = spec.model.partition("/")
        of_hub = owner == "timm" and not Path(spec.model).is_dir()
        raise _written(spec, "timm", f"timm:{name}" if of_hub else f"timm:{architecture}@{folder}")
    if open_clip:
        raise _written(spec, "open_clip", f"open_clip:local-dir:{folder}#{spec.tower or 'visual'}")


def _written(spec: Spec, library: str, name: str) -> StructureError:
    return StructureError(f"{spec.source} is a model of {library}, not of transformers. Write {name}.")


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamageError(f"{path} is not JSON ({error}). Fetch it again.") from error
    return config if isinstance(config, dict) else {}
