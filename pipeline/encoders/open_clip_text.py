"""open_clip's tokenizers as picklable functions from a text to its ids."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from structure.pipeline.encoders.digest import tokenizer_digest
from structure.pipeline.encoders.tokens import TextPreprocess, TokenIds
from structure.store.errors import StructureError


class OpenClipText:
    """A text -> `TokenIds` of at most `limit` ids, without padding.

    Handles open_clip's own BPE (`SimpleTokenizer`) and its wrappers around Hugging Face tokenizers. Raises
    `StructureError` for the special modes (masking, CLIPS), whose ids are not the text's alone.
    """

    def __init__(self, tokenizer: Any, *, limit: int) -> None:
        self.tokenizer = tokenizer
        self.kind = f"open_clip.{type(tokenizer).__name__}"
        self.limit = min(limit, int(tokenizer.context_length or limit))
        inner = getattr(tokenizer, "tokenizer", None)
        if getattr(tokenizer, "reduction_fn", None) or getattr(tokenizer, "tokenizer_mode", ""):
            raise StructureError(f"{self.kind} runs in a special mode (masking or CLIPS) that is not read here.")
        self._inner = TextPreprocess(inner, limit=self.limit) if inner is not None else None
        self.pad_id = 0 if inner is None else int(inner.pad_token_id)

    def __call__(self, text: str) -> TokenIds:
        if self._inner is None:
            ids = [self.tokenizer.sot_token_id, *self.tokenizer.encode(text), self.tokenizer.eot_token_id]
            if len(ids) <= self.limit:
                return TokenIds(ids)
            return TokenIds([*ids[: self.limit - 1], ids[-1]], cut=len(ids) - self.limit)
        ids = self._inner(self._cleaned(text))
        if getattr(self.tokenizer, "strip_sep_token", False):
            separator = self.tokenizer.tokenizer.sep_token_id
            return TokenIds([0 if value == separator else value for value in ids], cut=ids.cut)
        return ids

    def many(self, texts: list[str]) -> list[TokenIds]:
        """The same for many texts."""
        return [self(text) for text in texts]

    def digest(self) -> str:
        """Hex SHA-256 of the vocabulary and what is done to a text before."""
        if self._inner is not None:
            return tokenizer_digest(self.tokenizer.tokenizer)
        text = json.dumps([self.tokenizer.encoder, self.tokenizer.clean_fn.__name__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _cleaned(self, text: str) -> str:
        if hasattr(self.tokenizer, "clean_fn"):
            return str(self.tokenizer.clean_fn(text))
        from open_clip.tokenizer import basic_clean, canonicalize_text

        return str(canonicalize_text(basic_clean(text)))
