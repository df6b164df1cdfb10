"""Texts for a model of transformers: the checkpoint's own tokenizer, its limit, and its padding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from structure.pipeline.encoders.digest import tokenizer_digest
from structure.pipeline.encoders.library_errors import first_line
from structure.pipeline.encoders.preprocessing_words import of_texts
from structure.pipeline.encoders.sentence_conventions import read_conventions
from structure.pipeline.encoders.text_prompt import TextPrompt
from structure.pipeline.encoders.tokens import TextPreprocess, TokenIds, padding_id
from structure.pipeline.encoders.transformers_encoder import TransformersEncoder
from structure.store.errors import NotPresentError, StructureError

PROBE = "a large photo of two small red squares under a blue circle and a dog that runs on a green mat near the sea"

MOVED = 1e-4
"""What padding may move a text's features, relative to them: rounding of float32 (1e-6)."""


def prepare_text(
    encoder: TransformersEncoder, folder: Path, prompt: TextPrompt, *, trust_remote_code: bool
) -> tuple[dict[str, Any], str]:
    """Give the encoder its preprocessing and its layers. Returns the provenance's part on preprocessing and the digest
    of the tokenizer. Raises `NotPresentError` without a tokenizer, `StructureError` for a model without token ids."""
    encoder.vocabulary = _vocabulary(encoder)
    encoder.preprocess = preprocess = text_preprocess(encoder, folder, prompt, trust_remote_code=trust_remote_code)
    tokenizer = preprocess.tokenizer
    encoder.limit = preprocess.limit
    encoder.pad_id = padding_id(tokenizer, vocabulary=encoder.vocabulary)
    encoder._is_map = False
    short, long = preprocess.many(["a red square on a mat", PROBE])
    # A prime number of tokens: networks that pad to a multiple of their window show it.
    prime = max(number for number in (3, 5, 7, 11, 13, 17, 19, 23) if number <= max(3, len(long)))
    encoder.settle(encoder.collate([TokenIds([*long, *short, *short][:prime])]))
    other = TokenIds(short[::-1], types=short.types)
    stated = read_conventions(folder)
    encoder.default_pooling = stated.pooling or "mean"
    encoder.notes = (stated.left_out,) if stated.left_out else ()
    encoder.choose_grouping([short, other], long, most=MOVED)
    padding = {"batch": "full" if encoder.fixed_length else "batch", "equal length": "none", "single": "none, single"}
    values = {"class": type(tokenizer).__name__, "limit": encoder.limit, "padding": padding[encoder.grouping]}
    if preprocess.segments:
        values["segments"] = True
    if preprocess.prompt:
        values["prompt"] = preprocess.prompt
    return values, tokenizer_digest(tokenizer)


def text_preprocess(
    encoder: TransformersEncoder, folder: Path, prompt: TextPrompt, *, trust_remote_code: bool
) -> TextPreprocess:
    """How the model in `folder` cuts texts into tokens: its tokenizer's way, and what sentence-transformers adds to it.

    Raises `NotPresentError` without a tokenizer, `StructureError` for a prompt that the checkpoint does not have, or
    whose tokens its pooling leaves out.
    """
    stated = read_conventions(folder)
    tokenizer = _tokenizer(folder, trust_remote_code)
    if stated.lowercase:
        lowercase(tokenizer)
    before = prompt.among(stated.prompts, stated.default_prompt, name=encoder.name)
    if before and not stated.prompt_pooled:
        raise StructureError(
            f"{encoder.name} puts {before!r} before texts and leaves it out of pooling, which is not done here. Pass "
            "?prompt=none at the end of its name to read texts without it."
        )
    return TextPreprocess(
        tokenizer,
        limit=text_limit(encoder.tower, encoder.config, tokenizer, stated=stated.limit),
        segments=_has_segments(encoder, tokenizer),
        prompt=before,
    )


def text_words(folder: Path, config: Any, prompt: TextPrompt) -> str:
    """How the model in `folder` prepares texts, in words; its weights are not asked, so that a position table that is
    shorter than the config says is not known."""
    stated = read_conventions(folder)
    tokenizer = _tokenizer(folder, trust_remote_code=False)
    limit = text_limit(nn.Module(), config, tokenizer, stated=stated.limit)
    return of_texts(limit, stated, prompt)


def lowercase(tokenizer: Any) -> None:
    """Make a fast tokenizer lower-case texts before all else, as sentence-transformers does where a checkpoint asks for
    it; one that does so by itself stays as it is."""
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    own = json.loads(backend.to_str())["normalizer"]
    parts = own.get("normalizers", [own]) if own else []
    if any(part["type"] == "Lowercase" or part.get("lowercase") for part in parts):
        return
    first = [normalizers.Lowercase()]
    backend.normalizer = normalizers.Sequence([*first, backend.normalizer] if own else first)


def _has_segments(encoder: TransformersEncoder, tokenizer: Any) -> bool:
    """Whether the tokenizer tells segments apart in a single text (XLNet's last token) and the model reads them."""
    if "token_type_ids" not in tokenizer.model_input_names:
        return False
    types = tokenizer("a")["token_type_ids"]
    return any(types) and encoder.takes("token_type_ids")


def _vocabulary(encoder: TransformersEncoder) -> int:
    """How many token ids the model knows."""
    try:
        table = encoder.tower.get_input_embeddings()  # type: ignore[operator]
    except (NotImplementedError, AttributeError):
        table = None
    rows = getattr(table, "num_embeddings", None) or getattr(encoder.config, "vocab_size", None)
    if rows is None:
        raise StructureError(
            f"{encoder.name} ({type(encoder.module).__name__}) has no table of token embeddings: it does not read "
            "texts on its own. Extract features elsewhere and bring them in with `structure import`."
        )
    return int(rows)


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
        return _as_saved(tokenizer, folder)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotPresentError(
            f"{folder} holds no tokenizer that can be read ({first_line(error)}). Put tokenizer.json and "
            "tokenizer_config.json of the same model there."
        ) from error


def _as_saved(tokenizer: Any, folder: Path) -> Any:
    """The tokenizer, or the one in tokenizer.json where the checkpoint names no class of its own and AutoTokenizer took
    the model's usual one, which keeps the vocabulary and cuts texts otherwise."""
    import transformers

    path = folder / "tokenizer_config.json"
    stated = json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class") if path.is_file() else None
    if stated not in ("PreTrainedTokenizerFast", "TokenizersBackend") or type(tokenizer).__name__ == stated:
        return tokenizer
    saved = transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return tokenizer if tokenizer(PROBE)["input_ids"] == saved(PROBE)["input_ids"] else saved


def text_limit(tower: nn.Module, config: Any, tokenizer: Any, *, stated: int | None = None) -> int | None:
    """The most tokens a text may have: what is `stated`, else what the tokenizer says, or what the position table
    holds or the config says of it, if less.

    A table with a padding row (RoBERTa, MPNet) starts counting after it; others have rows more than there are positions
    (Nystromformer). None where nothing says it.
    """
    limits = []
    if stated is not None:
        limits.append(stated)
    elif tokenizer.model_max_length < 1_000_000:
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
    for name in ("max_position_embeddings", "max_encoder_position_embeddings"):
        most = getattr(config, name, None)
        if isinstance(most, int) and most > 0:
            limits.append(most)
    return min(limits) if limits else None
