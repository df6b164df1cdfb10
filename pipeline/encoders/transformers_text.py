"""Texts for a model of transformers: the checkpoint's own tokenizer, its limit, and its padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from structure.pipeline.encoders.digest import tokenizer_digest
from structure.pipeline.encoders.library_errors import first_line
from structure.pipeline.encoders.tokens import TextPreprocess, TokenIds, padding_id
from structure.pipeline.encoders.transformers_encoder import TransformersEncoder
from structure.store.errors import NotPresentError, StructureError

PROBE = "a large photo of two small red squares under a blue circle and a dog that runs on a green mat near the sea"

MOVED = 1e-4
"""What padding may move a text's features, relative to them: rounding of float32 (1e-6)."""


def prepare_text(encoder: TransformersEncoder, folder: Path, *, trust_remote_code: bool) -> tuple[dict[str, Any], str]:
    """Give the encoder its preprocessing and its layers. Returns the provenance's part on preprocessing and the digest
    of the tokenizer. Raises `NotPresentError` without a tokenizer, `StructureError` for a model without token ids."""
    encoder.vocabulary = _vocabulary(encoder)
    encoder.preprocess = preprocess = text_preprocess(encoder, folder, trust_remote_code=trust_remote_code)
    tokenizer = preprocess.tokenizer
    encoder.limit = preprocess.limit
    encoder.pad_id = padding_id(tokenizer, vocabulary=encoder.vocabulary)
    encoder._is_map = False
    short, long = preprocess.many(["a red square on a mat", PROBE])
    # A prime number of tokens: networks that pad to a multiple of their window show it.
    prime = max(number for number in (3, 5, 7, 11, 13, 17, 19, 23) if number <= max(3, len(long)))
    encoder.settle(encoder.collate([TokenIds([*long, *short, *short][:prime])]))
    other = TokenIds(short[::-1], types=short.types)
    encoder.choose_grouping([short, other], long, most=MOVED)
    padding = {"batch": "full" if encoder.fixed_length else "batch", "equal length": "none", "single": "none, single"}
    values = {"class": type(tokenizer).__name__, "limit": encoder.limit, "padding": padding[encoder.grouping]}
    if preprocess.segments:
        values["segments"] = True
    return values, tokenizer_digest(tokenizer)


def text_preprocess(encoder: TransformersEncoder, folder: Path, *, trust_remote_code: bool) -> TextPreprocess:
    """How the model in `folder` cuts texts into tokens. Raises `NotPresentError` without a tokenizer."""
    tokenizer = _tokenizer(folder, trust_remote_code)
    return TextPreprocess(
        tokenizer,
        limit=text_limit(encoder.tower, encoder.config, tokenizer),
        segments=_has_segments(encoder, tokenizer),
    )


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
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotPresentError(
            f"{folder} holds no tokenizer that can be read ({first_line(error)}). Put tokenizer.json and "
            "tokenizer_config.json of the same model there."
        ) from error


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
