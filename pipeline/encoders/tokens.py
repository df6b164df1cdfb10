"""Texts to token ids and token ids to padded batches, so that a row never depends on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from structure.store.errors import StructureError


class TokenIds(list[int]):
    """The token ids of one text, special tokens included; `cut` of the text's tokens did not fit the model's limit.
    `types`: the segment of each token, empty where the model reads none."""

    def __init__(self, ids: Sequence[int], *, cut: int = 0, types: Sequence[int] = ()) -> None:
        super().__init__(ids)
        self.cut, self.types = cut, tuple(types)

    def __reduce__(self) -> tuple[Any, ...]:
        return _tokens, (list(self), self.cut, self.types)


def _tokens(ids: list[int], cut: int, types: tuple[int, ...]) -> TokenIds:
    return TokenIds(ids, cut=cut, types=types)


class TextPreprocess:
    """A Hugging Face tokenizer as a picklable function: text -> `TokenIds` of at most `limit` ids (None: no limit).

    Truncation is the tokenizer's own, so that closing special tokens stay; how much was cut is counted in each result.
    With `segments` a result has its tokens' segments, too; `prompt` is put before every text. A text without any token
    (an empty caption under a tokenizer that adds no special ones) becomes the begin- or end-of-sequence token alone.
    """

    def __init__(self, tokenizer: Any, *, limit: int | None, segments: bool = False, prompt: str = "") -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self.segments = segments
        self.prompt = prompt

    def __call__(self, text: str) -> TokenIds:
        return self.many([text])[0]

    def many(self, texts: Sequence[str]) -> list[TokenIds]:
        """The same for many texts in one call, several times faster."""
        if not texts:
            return []
        texts = [f"{self.prompt}{text}" for text in texts]
        return [self._fitted(text, ids) for text, ids in zip(texts, self._ids(texts), strict=True)]

    def _ids(self, texts: list[str], **options: Any) -> list[TokenIds]:
        out = self.tokenizer(
            texts,
            return_attention_mask=False,
            return_token_type_ids=self.segments,
            padding=False,
            verbose=False,
            **options,
        )
        types: Sequence[Sequence[int]] = out["token_type_ids"] if self.segments else [()] * len(texts)
        return [TokenIds(ids, types=of_text) for ids, of_text in zip(out["input_ids"], types, strict=True)]

    def _fitted(self, text: str, ids: TokenIds) -> TokenIds:
        if not ids:
            return TokenIds([lone_token(self.tokenizer)], types=(0,) if self.segments else ())
        if self.limit is None or len(ids) <= self.limit:
            return ids
        truncated = self._ids([text], truncation=True, max_length=self.limit)[0]
        truncated.cut = len(ids) - len(truncated)
        return truncated


def lone_token(tokenizer: Any) -> int:
    """The id that stands for a text without tokens. Raises `StructureError` where the tokenizer has none."""
    for name in ("bos_token_id", "eos_token_id", "cls_token_id", "pad_token_id"):
        value = getattr(tokenizer, name, None)
        if value is not None:
            return int(value)
    raise StructureError(
        f"An empty text has no tokens under {type(tokenizer).__name__}, which has no special token either: there would "
        "be nothing to encode. Leave empty texts out of the dataset."
    )


def padding_id(tokenizer: Any, *, vocabulary: int) -> int:
    """The id for padded positions: the tokenizer's pad token, else its end-of-sequence token, else 0.

    Padded positions are masked out, so that the choice changes nothing; it must only be a row of the embedding.
    """
    for value in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if value is not None and 0 <= value < vocabulary:
            return int(value)
    return 0


def pad(rows: Sequence[Sequence[int]], *, value: int, length: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (batch, token) int64 and mask (batch, token) bool, True = real; padded on the right.

    To `length`, or to the longest row.

    Always on the right, whatever side the tokenizer would pad: then positions count from each text's first token, and
    for a causal model nothing that is padded comes before anything that is read.
    """
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max()) if length is None else length
    mask = torch.arange(longest) < lengths[:, None]
    ids = torch.full(mask.shape, value, dtype=torch.int64)
    ids[mask] = torch.tensor([number for row in rows for number in row], dtype=torch.int64)
    return ids, mask
