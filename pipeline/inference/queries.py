"""Queries: words or image files, checked, and encoded by one encoder and its head."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline.datasets.decode_image import decode_alone
from structure.pipeline.datasets.image_files import frames_of, read_file
from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.exports.side import ExportedSide, load_side
from structure.pipeline.extraction.batches import tokenize
from structure.pipeline.inference.aligned_embeddings import Side
from structure.pipeline.run_context import RunContext
from structure.store.errors import NotPresentError, StructureError, UsageError

BATCH = 32
TRAINING_TEXTS = 1000
"""Texts of the training data whose script is compared with a query's."""


def require_texts(queries: Sequence[str]) -> None:
    """Raises UsageError for a query without a letter or digit, or that no encoder can read."""
    for number, query in enumerate(queries, start=1):
        which = "The query" if len(queries) == 1 else f"Query {number} of {len(queries)}"
        if not query.strip():
            raise UsageError(f'{which} is empty. Write what the images show, such as "a red circle".')
        try:
            query.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{which}, {query!r}, is not Unicode text (UTF-8).") from None


def open_side(context: RunContext, subject: EvaluatedAligner, side: Side) -> ExportedSide:
    """The encoder of one side with its head. Raises NotPresentError where its features were imported, or where it is
    not on this machine."""
    record = subject.vision if side == "vision" else subject.text
    if not record.spec:
        what = "images" if side == "vision" else "texts"
        raise NotPresentError(
            f"The {side} features of the aligner {subject.name} were imported as {record.name}: no encoder here reads "
            f"new {what}. Import the features of what you have too: structure import FILE --model {record.name} "
            f"--modality {record.modality} --dataset NAME"
        )
    trust, device = context.trust_remote_code, context.resolved_device
    return load_side(subject.aligner, side, device=device, trust_remote_code=trust)


def encode_texts(context: RunContext, subject: EvaluatedAligner, queries: Sequence[str]) -> np.ndarray:
    """(queries, dim) float32 unit rows. What is too long is cut, and a query in a script that no text of the training
    data is written in is said to be one."""
    require_texts(queries)
    known = training_scripts(context, subject)
    for query in queries:
        if told := script_note(query, known, aligner=subject.name):
            context.note(told)
    side = open_side(context, subject, "text")
    examples = tokenize(side.encoder, queries)
    for query, example in zip(queries, examples, strict=True):
        if getattr(example, "cut", 0):
            context.note(f"the query {_short(query)} is longer than {side.encoder.limit} tokens and was cut")
    return encoded(side, examples)


def encode_images(context: RunContext, subject: EvaluatedAligner, paths: Sequence[str | Path]) -> np.ndarray:
    """(paths, dim) float32 unit rows of image files. Raises BadSampleError for a file that is not there or no image."""
    shown = [read_file(str(path), item=str(path)) for path in paths]
    images = [decode_alone(data, item=str(path)) for data, path in zip(shown, paths, strict=True)]  # before weights
    side = open_side(context, subject, "vision")
    count = side.encoder.frames
    if count == 1:
        return encoded(side, [side.encoder.preprocess(image) for image in images])
    clips = (frames_of(data, count, item=str(path), source="") for data, path in zip(shown, paths, strict=True))
    return encoded(side, [side.encoder.preprocess(clip) for clip in clips])


def encoded(side: ExportedSide, examples: Sequence[Any]) -> np.ndarray:
    """(examples, dim) float32 unit rows of what the encoder's `preprocess` made."""
    parts = [side.embed(examples[start : start + BATCH]).cpu().numpy() for start in range(0, len(examples), BATCH)]
    return np.concatenate(parts)


def training_scripts(context: RunContext, subject: EvaluatedAligner) -> list[str]:
    """The scripts of the texts that the aligner was trained on; none where they are not in the store."""
    data = subject.aligner.metadata.get("data") or {}
    try:
        samples = context.store.samples(data["dataset"], data["split"])
    except (KeyError, StructureError):
        return []
    return scripts(text for text in samples.column("text").slice(0, TRAINING_TEXTS).to_pylist() if text)


def script_note(query: str, known: Sequence[str], *, aligner: str) -> str:
    """That a query is in a script that is not among those `known`; "" where it is, and where none is known."""
    strange = [script for script in scripts([query]) if script not in known]
    if not known or not strange:
        return ""
    return (
        f"the query {_short(query)} is in {strange[0].title()} letters, and the texts that the aligner {aligner} was "
        f"trained on are in {' and '.join(name.title() for name in known)} ones: its order may mean nothing"
    )


def scripts(texts: Iterable[str]) -> list[str]:
    """The scripts of the letters, such as LATIN or CYRILLIC, the commonest first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())
    return [script for script, _ in counts.most_common()]


def _short(query: str) -> str:
    return repr(query if len(query) <= 60 else f"{query[:60]}...")
