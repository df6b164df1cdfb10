"""What a sentence-transformers checkpoint says of itself beside its config.json: pooling, longest text, prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from structure.store.errors import DamageError, NotPresentError

_MODES = {"cls": "cls", "max": "max", "mean": "mean", "lasttoken": "last"}
"""Its poolings that are read here, by its names; others keep theirs and are refused until --pool names one."""

_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

_TEXT_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


@dataclass(frozen=True)
class SentenceConventions:
    """`pooling`: a key of `POOLINGS`, or the checkpoint's own name of one that is not read here; "" where it says none.
    `limit`: the most tokens of a text, None where it says none. `lowercase`: whether texts are lower-cased before the
    tokenizer sees them. `prompts`: what may be put before texts, by name, and `default_prompt`, the name of the one
    that is unless told otherwise ("" for none). `prompt_pooled`: whether pooling counts the prompt's tokens. `after`:
    the modules behind the pooling that change its vectors by more than their length; they are no part of the network
    that is read."""

    pooling: str = ""
    limit: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    prompt_pooled: bool = True
    after: tuple[str, ...] = ()

    @property
    def left_out(self) -> str:
        """What of the checkpoint is not read, in words; "" for nothing."""
        return (
            f"{' and '.join(self.after)} after the pooling left out: the layers are the transformer's, and none is "
            "what sentence-transformers returns"
            if self.after
            else ""
        )


def read_conventions(folder: Path) -> SentenceConventions:
    """The conventions of the checkpoint in `folder`, or of the one whose transformer it holds (`0_Transformer`).

    Raises `NotPresentError` where modules.json names a pooling whose file is missing, `DamageError` for files that are
    no JSON.
    """
    root = folder
    if not (folder / "modules.json").is_file() and _transformer_path(folder.parent) == folder.name:
        root = folder.parent
    pooling = _pooling(root)
    text = next((folder / name for name in _TEXT_CONFIGS if (folder / name).is_file()), None)
    stated = _read(text) if text is not None else {}
    limit = stated.get("max_seq_length")
    config = root / "config_sentence_transformers.json"
    model = _read(config) if config.is_file() else {}
    prompts = {str(name): str(value) for name, value in (model.get("prompts") or {}).items() if value}
    default = model.get("default_prompt_name") or ""
    return SentenceConventions(
        pooling=_mode(pooling),
        limit=int(limit) if limit else None,
        lowercase=bool(stated.get("do_lower_case", False)),
        prompts=prompts,
        default_prompt=default if default in prompts else "",
        prompt_pooled=bool(pooling.get("include_prompt", True)),
        after=tuple(kind for kind in map(_kind, _modules(root)[1:]) if kind not in ("Pooling", "Normalize")),
    )


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def transformer_folder(folder: Path) -> Path | None:
    """The folder below `folder` that holds a sentence-transformers checkpoint's transformer; None where it is none or
    lies in `folder` itself."""
    path = _transformer_path(folder)
    return folder / path if path else None


def _transformer_path(folder: Path) -> str:
    first = next(iter(_modules(folder)), {})
    return str(first.get("path", ""))


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    stated = _read(path) if path.is_file() else []
    return [entry for entry in stated if isinstance(entry, dict)] if isinstance(stated, list) else []


def _pooling(root: Path) -> dict[str, Any]:
    """The pooling module's config.json, {} without such a module."""
    modules = _modules(root)
    paths = [str(entry.get("path", "")) for entry in modules if _kind(entry) == "Pooling"]
    path = root / (paths[0] if paths else "1_Pooling") / "config.json"
    if paths and not path.is_file():
        raise NotPresentError(
            f"{path} is missing, which says how {root.name} pools its tokens: features pooled otherwise would not be "
            "the checkpoint's. Put the model's own file there."
        )
    return _read(path) if path.is_file() and (paths or not modules) else {}


def _mode(config: Mapping[str, Any]) -> str:
    if not config:
        return ""
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _LEGACY_MODES.items() if config.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    return "+".join(_MODES.get(mode, mode) for mode in modes)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamageError(f"{path} is not JSON ({error}). Fetch it again.") from error
