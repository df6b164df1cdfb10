"""Which layers' tokens to keep, and how many tokens every row has: known before anything is encoded."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.extraction.batches import tokenize
from structure.store import Column, Manifest, Samples
from structure.store.column_layout import plan_tokens
from structure.store.errors import unknown
from structure.store.manifest import lengths_digest

TEXTS = 8192  # tokenized at a time


def choose_token_layers(encoder: Encoder, globs: Sequence[str]) -> list[str]:
    """Names of layers with tokens (or maps) that match any glob, in order of depth. Raises StructureError for a glob
    that matches none."""
    names = encoder.token_layers
    for pattern in globs:
        if not fnmatch.filter(names, pattern):
            raise unknown("token layer", pattern, names, hint=f"These layers of {encoder.name} have tokens.")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in globs)]


def text_lengths(encoder: Encoder, samples: Samples, captions: int | None) -> np.ndarray:
    """(rows,) int64: how many tokens the encoder's tokenizer makes of each caption, special tokens included."""
    texts = samples.texts(captions)
    parts = (tokenize(encoder, texts[start : start + TEXTS]) for start in range(0, len(texts), TEXTS))
    return np.array([len(ids) for part in parts for ids in part], dtype=np.int64)


def with_tokens(
    manifest: Manifest, encoder: Encoder, layers: Sequence[str], *, dtype: str, lengths: np.ndarray | None
) -> Manifest:
    """The manifest with the tokens of `layers` besides those that it has. `lengths` are those of all its texts.

    How many tokens an image has in each layer is seen in one pass over an empty one.
    """
    widths = {layer.name: layer.width for layer in encoder.layers}
    new = [name for name in layers if name not in {column.name for column in manifest.tokens}]
    columns = [  # over the manifest's rows
        plan_tokens(column, manifest.shards, lengths=None if column.tokens else lengths, chunk=column.chunk)
        for column in manifest.tokens
    ]
    if lengths is not None:
        chunk = next((column.chunk for column in columns), None)
        for name in new:
            layer = Column(name, widths[name], dtype)
            columns.append(plan_tokens(layer, manifest.shards, lengths=lengths, chunk=chunk))
            chunk = columns[-1].chunk  # one for all: a text begins at the same token in every layer
    elif new:
        blank = encoder.preprocess(Image.new("RGB", (64, 64)))
        _, seen = encoder.encode_tokens([blank], dict.fromkeys(new, torch.float32), layers=())
        for name in new:
            tokens = seen[name]
            layer = Column(name, widths[name], dtype, tokens.lengths[0], tokens.prefix, tokens.grid)
            columns.append(plan_tokens(layer, manifest.shards))
    return replace(manifest, tokens=tuple(columns), lengths="" if lengths is None else lengths_digest(lengths))
