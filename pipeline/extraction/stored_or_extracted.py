"""Features of an encoder for any rows: those in the store, or else extracted now and saved there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.encoders.loading import load_encoder
from structure.pipeline.encoders.precision import Amp
from structure.pipeline.extraction.estimate import ExtractionEstimate, ask, estimate
from structure.pipeline.extraction.fill import fill
from structure.pipeline.extraction.options import ExtractionOptions
from structure.pipeline.extraction.plan_feature_set import Plan, identity_of, plan
from structure.pipeline.extraction.recent import Recent
from structure.pipeline.extraction.sample_index import SampleIndex
from structure.pipeline.extraction.token_plan import text_lengths
from structure.pipeline.run_context import RunContext
from structure.pipeline.work_estimate import WorkEstimate
from structure.store import FeatureSet, Samples, Tokens
from structure.store.column_layout import tokens_path
from structure.store.errors import FingerprintError, NotPresentError
from structure.store.fingerprint import differences, fingerprint
from structure.store.joined_rows import layer_names, side_by_side
from structure.store.shard_ranges import Shard

KEPT_BYTES = 256 * 2**20
"""Bytes of layers that an evaluation of several aligners keeps in memory between them."""


@dataclass(frozen=True)
class EncoderRecord:
    """Which encoder made a feature set, and how: enough to find its other features and to make more of the same.

    `identity` is the encoder's part of the feature set's identity, `extraction` the options; `spec` loads the encoder
    again ("" for imported features, which no encoder here can make).
    """

    name: str
    spec: str
    modality: str
    identity: Mapping[str, Any]
    extraction: Mapping[str, Any]

    @classmethod
    def of(cls, features: FeatureSet) -> EncoderRecord:
        """The record of the encoder that made these features."""
        manifest = features.manifest
        provenance = manifest.provenance or {}
        return cls(
            name=str(provenance.get("encoder", manifest.encoder)),
            spec=str(provenance.get("spec", "")),
            modality=manifest.modality,
            identity=manifest.identity["encoder"],
            extraction=manifest.identity["extraction"],
        )

    def options(self, captions: int | None, tokens: Sequence[str] = ()) -> ExtractionOptions:
        """How to extract more of the same, with the tokens of some layers."""
        return ExtractionOptions(
            tokens=tuple(tokens),
            layers=tuple(self.extraction["layers"]),
            pooling=tuple(self.extraction["pooling"]),
            dtype=self.extraction["dtype"],
            captions=captions,
        )

    def load(self, *, device: str, amp: Amp = "off", trust_remote_code: bool = False) -> Encoder:
        """The encoder, at the revision that is on record. Raises as `load_encoder`."""
        revision = self.identity.get("revision") or None
        return load_encoder(self.spec, device=device, amp=amp, revision=revision, trust_remote_code=trust_remote_code)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> EncoderRecord:
        return cls(**body)


def require_encoder(encoder: Encoder, record: EncoderRecord, *, any_precision: bool = False) -> None:
    """Raises FingerprintError where this encoder is not the one on record; `any_precision` lets it compute in another
    one."""
    fields = [
        field
        for field in differences(identity_of(encoder), record.identity)
        if not (any_precision and field[0].startswith("precision"))
    ]
    if fields:
        told = "; ".join(f"{path}: then {then!r}, now {now!r}" for path, now, then in fields[:4])
        raise FingerprintError(
            f"The encoder {record.spec} is not the one that the aligner was trained on ({told}). "
            "Its embeddings would not fit. Put the same weights back, or train again."
        )


class FeatureSource:
    """Finds or makes features for the encoders that aligners were trained on; each encoder is loaded at most once.

    The context's `confirm` is asked before an encoder runs. `passes` counts the feature sets for which one had to. Up
    to `keep` bytes of layers stay in memory, so that many aligners of one layer read and check its bytes once. With
    `append` a feature set whose dataset has more samples now is grown.
    """

    def __init__(
        self,
        context: RunContext,
        *,
        keep: int = 0,
        append: bool = False,
    ) -> None:
        self.context, self.recent, self.append = context, Recent(keep), append
        self.store, self.device = context.store, context.resolved_device
        self.passes = 0
        self._loaded: dict[tuple[str, Any, Amp], Encoder] = {}
        self._found: list[tuple[EncoderRecord, Samples, tuple[int | None, Sequence[str]], FeatureSet]] = []

    def features(
        self, record: EncoderRecord, rows: SampleIndex, *, captions: int | None = None, tokens: Sequence[str] = ()
    ) -> FeatureSet:
        """The complete feature set of this encoder over these rows, with the tokens of these layers.

        Raises NotPresentError where there is none and no encoder or images to make it, FingerprintError where the
        encoder that loads now is not the one on record, ReadOnlyError where they cannot be saved.
        """
        samples = rows.samples
        for earlier, its_samples, asked, features in self._found:
            if its_samples is samples and asked == (captions, tokens) and earlier == record:
                return features
        found = self.find(record, samples, captions=captions)
        paths = {tokens_path(layer) for layer in tokens}
        if found is not None and paths <= set(found.manifest.paths) and not paths & _lacking(found):
            self._found.append((record, samples, (captions, tokens), found))
            return found
        self.context.require_writable(f"features of {samples.dataset}/{samples.split} by {record.name}")
        encoder, options, chosen = self._ahead(record, rows, captions, tokens, found)
        ask(self.context.confirm, encoder, rows, chosen, options, self.device)
        self.passes += 1
        if rows.dataset is None:  # prompts: texts that no dataset has put into the store
            self.store.put_samples(samples)
        return fill(self.context, encoder, rows, chosen, options)

    def values(self, features: FeatureSet, layer: str, shard: Shard) -> np.ndarray:
        """A shard of a layer, (rows, width) in the stored dtype, or of several side by side; what was read last is
        saved."""
        parts = [self._values(features, name, shard) for name in layer_names(features, layer)]
        return parts[0] if len(parts) == 1 else side_by_side(parts)

    def _values(self, features: FeatureSet, layer: str, shard: Shard) -> np.ndarray:
        key = (features.key, features.fingerprint, layer, shard.start)
        read = partial(features.rows, layer, shard.start, shard.stop)
        return self.recent.once(key, read, size=lambda rows: rows.nbytes)

    def tokens(self, features: FeatureSet, layer: str, start: int, stop: int) -> Tokens:
        """Tokens of rows `[start, stop)` of a layer; what was read last is saved."""
        key = (features.key, features.fingerprint, layer, start, stop)
        read = partial(features.tokens, layer, start, stop)
        return self.recent.once(key, read, size=lambda tokens: tokens.values.nbytes)

    def refill(self, record: EncoderRecord, rows: SampleIndex, features: FeatureSet) -> FeatureSet:
        """Encode what is pending in a feature set that is already there. Raises as `features` does."""
        if not record.spec:
            raise NotPresentError(f"{features.key} was imported: run its structure import command again.")
        options = replace(record.options(features.manifest.captions), views=features.manifest.views)
        encoder = self.encoder(record)
        chosen = plan(
            self.store, encoder, rows, options, spec=record.spec, device=self.device, folder=features.manifest.encoder
        )
        self.passes += 1
        return fill(self.context, encoder, rows, chosen, options)

    def find(self, record: EncoderRecord, samples: Samples, *, captions: int | None) -> FeatureSet | None:
        """The feature set that is already there and complete, if any.

        Images are looked for in the other splits of the dataset too: the same ones with captions in another language
        are the same features.
        """
        split = samples.split if record.modality == "text" else None
        for features in self.store.feature_sets(dataset=samples.dataset, split=split):
            identity, manifest = features.manifest.identity, features.manifest
            limit = captions if manifest.rows_of == "captions" else None
            if (
                manifest.views == 1
                and not differences(identity["encoder"], record.identity)
                and not differences(identity["extraction"], record.extraction)
                and identity["data"]["digest"] == samples.digest(manifest.rows_of, limit)
                and features.is_complete
            ):
                return features
        return None

    def encoder(self, record: EncoderRecord) -> Encoder:
        """The encoder on record, loaded once. Raises FingerprintError where the one that loads now is another, and
        NotPresentError where the features were imported."""
        if not record.spec:
            raise NotPresentError(
                f"{record.name} was imported: there is no encoder of it here for what is not in the store. Import its "
                f"features of that too: structure import FILE --model {record.name} --modality {record.modality} "
                "--dataset NAME --split SPLIT"
            )
        amp = _amp(record)
        asked = (record.spec, record.identity.get("revision"), amp)
        if asked not in self._loaded:
            self._loaded[asked] = record.load(
                device=self.device, amp=amp, trust_remote_code=self.context.trust_remote_code
            )
        encoder = self._loaded[asked]
        require_encoder(encoder, record)
        return encoder

    def token_lengths(self, record: EncoderRecord, rows: SampleIndex, features: FeatureSet) -> np.ndarray:
        """(rows,) int64 token counts of the texts, from the encoder's tokenizer."""
        return text_lengths(self.encoder(record), rows.samples, features.manifest.captions)[: len(features)]

    def estimate(
        self, record: EncoderRecord, rows: SampleIndex, *, captions: int | None = None, tokens: Sequence[str] = ()
    ) -> ExtractionEstimate:
        """What `features` would have to encode, from a short timed probe. Raises as it does."""
        encoder, options, chosen = self._ahead(record, rows, captions, tokens, None)
        return estimate(encoder, rows, chosen, options, device=self.device)

    def ahead(
        self, record: EncoderRecord, rows: SampleIndex, *, captions: int | None = None, tokens: Sequence[str] = ()
    ) -> WorkEstimate:
        """The same as a part of a plan, with nothing pending where `features` would find them. Raises as it does."""
        cached = self.find(record, rows.samples, captions=captions)
        if cached is not None:
            return WorkEstimate(f"{cached.key} (rows)", len(cached), 0, 0, 0, 0.0)
        ahead = self.estimate(record, rows, captions=captions, tokens=tokens)
        return WorkEstimate(
            f"{ahead.features} (rows)", ahead.rows, ahead.rows, ahead.bytes, ahead.memory or 0, ahead.seconds
        )

    def _ahead(
        self,
        record: EncoderRecord,
        rows: SampleIndex,
        captions: int | None,
        tokens: Sequence[str],
        found: FeatureSet | None,
    ) -> tuple[Encoder, ExtractionOptions, Plan]:
        samples = rows.samples
        if not record.spec:
            raise NotPresentError(
                f"{record.name} was imported: its features of {samples.dataset}/{samples.split} are not in the store. "
                f"Run: structure import FILE --model {record.name} --modality {record.modality} "
                f"--dataset {samples.dataset}"
            )
        if record.modality != "text" and rows.dataset is None:
            raise NotPresentError(f"The images of {samples.dataset}/{samples.split} are not on this machine.")
        encoder = self.encoder(record)
        named = "" if record.name == encoder.name else record.name  # as it was called with --as
        options = replace(record.options(captions, tokens), append=self.append, name=named)
        folder = found.manifest.encoder if found else None
        return encoder, options, self._plan(encoder, rows, options, record.spec, folder)

    def _plan(
        self, encoder: Encoder, rows: SampleIndex, options: ExtractionOptions, spec: str, folder: str | None
    ) -> Plan:
        """The plan under `folder` (by default the usual name), or a longer one where that holds other layers or another
        pooling."""
        try:
            return plan(self.store, encoder, rows, options, spec=spec, device=self.device, folder=folder)
        except FingerprintError:
            kind = {"layers": options.layers, "pooling": options.pooling, "dtype": options.dtype}
            folder = f"{options.name or encoder.name}.captions-{options.captions or 'all'}.{fingerprint(kind)[:8]}"
            return plan(self.store, encoder, rows, options, spec=spec, device=self.device, folder=folder)


def _lacking(features: FeatureSet) -> set[str]:
    """The columns that some shard lacks."""
    return {name for names in features.pending().values() for name in names}


def _amp(record: EncoderRecord) -> Amp:
    """The `amp` that gives the precision on record."""
    stated = str(record.identity.get("precision", ""))
    return "bf16" if "bfloat16" in stated else "fp16" if "float16" in stated else "off"
