"""Two light heads and what they fit: embeds features, and saves as safetensors + JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from structure.pipeline.aligners.aligner_bytes import (
    FORMAT,
    VERSION,
    aligner_bytes,
    how_to_mend,
    open_aligner,
    require_whole,
)
from structure.pipeline.aligners.aligner_runs import RECORD, WEIGHTS
from structure.pipeline.aligners.arrays import Array, as_tensor, check_rows
from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.heads.kinds import make_head
from structure.pipeline.aligners.padded import Padded, Ragged, as_sequences, check_sequences
from structure.store.errors import DamageError
from structure.store.files import Files
from structure.store.files_at_url import open_files
from structure.store.seals import LISTED, Seal, digests

_CHUNK, _NUMBERS = 16384, 1 << 24
"""Rows that are embedded at a time, and numbers of their embeddings, at most."""
_TOKEN_CHUNK = 256


@dataclass(frozen=True)
class Aligner:
    """A pair of heads into one space, compared by the cosine.

    `method` names how it was made; `metadata` are JSON values: layers, fingerprints of the features it fits, pairs,
    options, metrics, versions.
    """

    vision: Head
    text: Head
    method: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        dim: int = self.vision.dim
        return dim

    @property
    def widths(self) -> tuple[int, int]:
        """Width of the features it takes: (vision, text)."""
        return self.vision.width, self.text.width

    @property
    def takes_tokens(self) -> bool:
        """Whether it embeds the tokens of a layer instead of one vector a sample."""
        return self.vision.takes_tokens

    def embed_images(self, features: Any, *, mask: Array | None = None, prefix: int = 0) -> Array:
        """Features of the vision layer -> aligned embeddings; `AlignedModel.encode_images` takes images themselves.

        `(rows, vision width)` -> `(rows, dim)` float32 unit rows, of the kind and on the device given.


        An aligner that `takes_tokens` reads `(rows, token, width)` with `mask` (rows, token), True = real, and `prefix`
        leading tokens that are no patches; or the store's `features.tokens(layer)`, which bring both. Raises
        StructureError for another width or a row that is not finite.
        """
        return _embed(self.vision, features, "vision", mask, prefix)

    def embed_texts(self, features: Any, *, mask: Array | None = None) -> Array:
        """Features of the text layer -> aligned embeddings; `AlignedModel.encode_texts` takes strings.

        `(rows, text width)` -> `(rows, dim)` float32 unit rows; tokens as `embed_images` takes them.
        """
        return _embed(self.text, features, "text", mask, 0)

    @torch.no_grad()
    def patch_scores(self, tokens: Any, class_vectors: Array, *, prefix: int = 0) -> Array:
        """Score of every patch with every class: (rows, patch, class) float32, of the kind given.

        `tokens` (rows, token, vision width), or the store's `features.tokens(layer)`; the first `prefix` tokens (CLS,
        registers) are dropped. `class_vectors` (class, dim) are unit rows from `embed_texts`. For PAL the score is
        sum_k cos(patch, anchor_k) class_k, the patch's code not normalised (arXiv 2605.16834); for every other aligner
        the cosine of the patch put through the vision head. Raises StructureError for another width.
        """
        rows = as_sequences(tokens, prefix=prefix, what="vision")
        check_sequences(rows, "vision", width=self.vision.width)
        home = next(iter(self.vision.state_dict().values())).device
        classes = as_tensor(class_vectors).to(home, torch.float32)
        parts = []
        for start in range(0, len(rows), _TOKEN_CHUNK):
            part = rows.take(slice(start, start + _TOKEN_CHUNK))
            patches = part.values[:, part.prefix :].to(home, torch.float32)
            codes = self.vision.local(patches.flatten(0, 1))
            parts.append((codes @ classes.T).view(*patches.shape[:2], len(classes)).to(rows.values.device))
        scores = torch.cat(parts)
        return scores if _is_tensor(tokens) else scores.numpy()

    def similarity(self, images: Array, texts: Array) -> Array:
        """Cosines `(images, texts)` of embeddings."""
        left, right = as_tensor(images), as_tensor(texts)
        scores = left @ right.to(left).T
        return scores.numpy() if isinstance(images, np.ndarray) else scores

    def describe(self, **facts: Any) -> Aligner:
        """The same aligner with more metadata."""
        return replace(self, metadata={**self.metadata, **facts})

    def to(self, device: str | torch.device) -> Aligner:
        """The same aligner with its heads on `device` (the heads are moved, not copied)."""
        return replace(self, vision=self.vision.to(device), text=self.text.to(device))

    def pack(self, *, place: str = "", beside: Mapping[str, str] | None = None) -> dict[str, bytes]:
        """The aligner's files by name, to be written in this order: the record last, it vouches for the weights and for
        the files `beside` (name -> hex SHA-256). `place` is the folder's key in a store, "" in none."""
        from safetensors.torch import save

        tensors = {
            f"{side}.{name}": value.detach().cpu().contiguous()
            for side, head in (("vision", self.vision), ("text", self.text))
            for name, value in head.state_dict().items()
        }
        weights = save(tensors)
        record = {
            "format": FORMAT,
            "version": VERSION,
            "method": self.method,
            "dim": self.dim,
            "vision": _head_record(self.vision),
            "text": _head_record(self.text),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "metadata": dict(self.metadata),
            LISTED: dict(beside or {}),
        }
        seal = Seal(f"{place}/{RECORD}".lstrip("/"), str(self.metadata.get("run", "")))
        return {WEIGHTS: weights, RECORD: seal.json(record, indent=2, sort_keys=True)}

    def save(self, folder: str | Path | Files, *, beside: Mapping[str, bytes] | None = None) -> Files:
        """Write `aligner.safetensors` and `aligner.json` into a folder (a path or an fsspec URL), each whole, after the
        files `beside`, which the record lists with their digests."""
        target, others = open_files(folder), dict(beside or {})
        for name, content in (others | self.pack(place=target.place, beside=digests(others))).items():
            target.write(name, content)
        return target


def load_aligner(place: str | Path | Files) -> Aligner:
    """Read an aligner back from its folder, a path or an fsspec URL (or from that of its `aligner.json`).

    Raises StructureError where there is none or it is from a newer version, DamageError where its bytes are not those
    that were saved.
    """
    folder = open_aligner(place)
    return unpack(aligner_bytes(folder), source=str(folder), place=folder.place)


def unpack(files: Mapping[str, bytes], *, source: str, place: str = "") -> Aligner:
    """The aligner whose files `pack` made; `source` says where they were read, `place` which folder of a store that is.
    Raises as `load_aligner` does."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    record, again = require_whole(files, source=source, place=place), how_to_mend(place)
    try:
        tensors = load(files[WEIGHTS])
        heads = {side: _filled(record[side], side, tensors) for side in ("vision", "text")}
        method, metadata = record["method"], record["metadata"]
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DamageError(f"The aligner in {source} cannot be read: {error}. {again}") from error
    strange = [name for name in tensors if name.partition(".")[0] not in heads]
    if strange:
        raise DamageError(f"{source}/{WEIGHTS} holds {strange[0]}, which no head takes. {again}")
    return Aligner(heads["vision"], heads["text"], method, metadata)


def _head_record(head: Head) -> dict[str, Any]:
    return {"kind": head.kind, "width": head.width, "dim": head.dim, "settings": head.settings}


def _filled(record: Mapping[str, Any], side: str, tensors: Mapping[str, torch.Tensor]) -> Head:
    mine = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(f"{side}.")}
    with torch.device("meta"):  # a record from anywhere may state sizes that no memory holds
        outline = make_head(record["kind"], record["width"], record["dim"], **record["settings"]).state_dict()
    stated = {name: tuple(value.shape) for name, value in outline.items()}
    if stated != {name: tuple(value.shape) for name, value in mine.items()}:
        raise ValueError(f"its {side} head is stated with other tensors than the file holds")
    head = make_head(record["kind"], record["width"], record["dim"], **record["settings"])
    head.load_state_dict(mine)
    head.eval().requires_grad_(False)
    return head


@torch.no_grad()
def _embed(head: Head, features: Any, what: str, mask: Array | None, prefix: int) -> Array:
    if head.takes_tokens:
        source: Any = as_sequences(features, mask=mask, prefix=prefix, what=what)
        check_sequences(source, what, width=head.width)
        place, chunk = source.values.device, _TOKEN_CHUNK
    else:
        check_rows(features, what, width=head.width)
        source, chunk = as_tensor(features), max(1, min(_CHUNK, _NUMBERS // head.dim))
        place = source.device
    home = next(iter(head.state_dict().values())).device
    training = head.training
    head.eval()
    out = torch.empty(len(source), head.dim, dtype=torch.float32, device=place)
    for start in range(0, len(source), chunk):
        part = slice(start, start + chunk)
        rows = source.take(part).to(home) if head.takes_tokens else source[part].to(home, torch.float32)
        out[part] = F.normalize(head(rows), dim=1).to(place)
    head.train(training)
    return out if _is_tensor(features) else out.numpy()


def _is_tensor(features: Any) -> bool:
    return isinstance(features, torch.Tensor | Padded | Ragged)
