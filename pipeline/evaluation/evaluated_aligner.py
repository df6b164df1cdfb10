"""An aligner under test: its two heads, and the encoders and layers that they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.aligners.aligner_names import aligner_names
from structure.pipeline.aligners.aligner_runs import RECORD
from structure.pipeline.evaluation.embeddings import Embeddings, Head
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord, FeatureSource
from structure.pipeline.run_context import RunContext
from structure.store import FeatureSet, Store

SHOWN = 3
"""Names of other aligners that a note has."""


@dataclass(frozen=True)
class EvaluatedAligner:
    """`name` is the aligner's folder in the store; `layers` are the columns of each side's features."""

    name: str
    aligner: Aligner
    vision: EncoderRecord
    text: EncoderRecord
    layers: Mapping[str, str]

    @classmethod
    def load(cls, store: Store, name: str, *, device: str) -> EvaluatedAligner:
        """The aligner of that name with its heads on `device`. Raises as `load_aligner` does."""
        aligner = load_aligner(store.folder("aligners", name)).to(device)
        facts: Mapping[str, Any] = aligner.metadata
        return cls(
            name,
            aligner,
            EncoderRecord.from_json(facts["encoders"]["vision"]),
            EncoderRecord.from_json(facts["encoders"]["text"]),
            facts["layers"],
        )

    @classmethod
    def of(cls, context: RunContext, name: str | None) -> EvaluatedAligner:
        """The aligner of that name, the newest without one, on the context's device. Raises StructureError."""
        (chosen,) = aligner_names(context.store, [name] if name else [])
        if not name and len(there := context.store.folder("aligners").holding(RECORD)) > 1:
            others = [one for one in sorted(there, key=lambda one: -there[one]) if one != chosen]
            more = ", ..." if len(others) > SHOWN else ""
            named = f"{', '.join(others[:SHOWN])}{more}"
            context.note(f"aligner {chosen}, the newest of {len(there)}; another with --aligner: {named}")
        return cls.load(context.store, chosen, device=context.resolved_device)

    def images(self, source: FeatureSource, rows: SampleIndex) -> Embeddings:
        """Embeddings of the images of `rows`, one a sample."""
        features = source.features(self.vision, rows, tokens=self.tokens("vision"))
        embed = self.aligner.embed_images
        return self._embeddings(features, "vision", embed, source)

    def texts(self, source: FeatureSource, rows: SampleIndex, *, captions: int | None = 1) -> Embeddings:
        """Embeddings of the first `captions` texts of every sample (None = all)."""
        features = source.features(self.text, rows, captions=captions, tokens=self.tokens("text"))
        embed = self.aligner.embed_texts
        return self._embeddings(features, "text", embed, source)

    def _embeddings(self, features: FeatureSet, side: str, embed: Head, source: FeatureSource) -> Embeddings:
        tokens, name = self.aligner.takes_tokens, f"{side} head of {self.name}"
        return Embeddings(features, self.layers[side], embed, source, tokens=tokens, head_name=name)

    def tokens(self, side: str) -> tuple[str, ...]:
        """The layers whose tokens that side needs."""
        return (self.layers[side],) if self.aligner.takes_tokens else ()
