"""A bundle of anybody's, read with care: sizes, digests, shapes and names are checked before anything is used."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.aligners.aligner_runs import BUNDLE, WEIGHTS
from structure.pipeline.encoders.encoder import Encoder
from structure.pipeline.encoders.model_names import parse_spec
from structure.pipeline.exports.bundle import (
    AGREEMENT,
    CLASSES,
    FILES,
    FORMAT,
    LABELS,
    PATH_SIGNS,
    PROBE,
    VERSION,
    digest,
    installed_versions,
)
from structure.pipeline.exports.side import WHICH, ExportedSide, Which, load_side
from structure.pipeline.extraction.batches import tokenize
from structure.pipeline.extraction.plan_feature_set import identity_of
from structure.pipeline.extraction.stored_or_extracted import EncoderRecord
from structure.store.errors import DamageError, FingerprintError, NotPresentError, StructureError
from structure.store.fingerprint import differences

MOST_BYTES = {WEIGHTS: 1 << 32, PROBE: 1 << 26}
MOST_OTHER = 1 << 24
"""Bytes of the files of a bundle: weights of heads, probes, and all others."""
MOST_PROBES, MOST_SIDE, MOST_LETTERS = 64, 1024, 100_000
NAME_ONLY = ("source", "revision", "precision")
"""Fields of an encoder's identity that other weights of the same digest may have."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle says. `local`: by side, whether the encoder was a folder where the bundle was made."""

    folder: Path
    name: str
    aligner: Aligner
    local: Mapping[str, bool]
    versions: Mapping[str, str]
    texts: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    expected: Mapping[str, np.ndarray]

    @property
    def label_files(self) -> dict[str, bytes]:
        """The prompts of labels that came along, by file name."""
        return {name: (self.folder / name).read_bytes() for name in (LABELS, CLASSES) if (self.folder / name).is_file()}


@dataclass(frozen=True)
class OpenedBundle:
    """A bundle whose answers are the same here. `aligner` names the encoders as they are found on this machine.
    `notes`: what differs without changing an answer."""

    bundle: Bundle
    aligner: Aligner
    vision: ExportedSide
    text: ExportedSide
    largest_difference: Mapping[str, float]
    notes: tuple[str, ...]


def read_bundle(folder: str | Path) -> Bundle:
    """The bundle in a folder; no encoder is loaded. Raises `StructureError` where there is none or it is from a newer
    version, `DamageError` where a file is not the one that was written or makes no sense."""
    place = Path(folder)
    record = _record(place)
    for name in FILES:
        stated, file = record["files"].get(name), place / name
        if stated is None and not file.exists():
            continue
        if file.is_symlink() or not file.is_file():
            raise DamageError(f"{file} is missing or no plain file: the bundle is not whole. Ask for it again.")
        size, most = file.stat().st_size, MOST_BYTES.get(name, MOST_OTHER)
        if size > most:
            raise DamageError(f"{file} has {size:,} bytes; that file of a bundle has {most:,} at most.")
        if stated is None or digest(file) != stated:
            raise DamageError(f"{file} is not the file that the bundle was made with. Ask for the bundle again.")
    images, expected = _probes(place / PROBE, texts=len(record["texts"]))
    aligner = load_aligner(place)
    _require_plain_names(aligner, place)
    return Bundle(
        place,
        record["name"],
        aligner,
        record["local"],
        record["versions"],
        tuple(record["texts"]),
        images,
        expected,
    )


def open_sides(
    bundle: Bundle, *, vision: str | None = None, text: str | None = None, device: str = "cpu", trust_remote_code: bool
) -> OpenedBundle:
    """Load both encoders and compare the embeddings of the probes with those on record.

    `vision` and `text` say what the encoders are called here, where that differs. Raises `NotPresentError` for an
    encoder that is not here, with what to type, `FingerprintError` for one with other weights or preprocessing,
    `StructureError` where the answers differ, with the versions that do.
    """
    given: dict[Which, str | None] = {"vision": vision, "text": text}
    records = {}
    for which in WHICH:
        records[which] = _found(bundle, which, given[which], trust_remote_code=trust_remote_code).to_json()
    aligner = bundle.aligner.describe(encoders=records).to(device)
    sides = {which: load_side(aligner, which, device=device, trust_remote_code=trust_remote_code) for which in WHICH}
    found: dict[str, float] = {
        which: _largest(_embedded(bundle, sides[which]), bundle.expected[which]) for which in WHICH
    }
    other = _other_versions(bundle)
    if max(found.values()) > AGREEMENT:
        raise StructureError(_differs(found, other))
    notes = (
        [f"other versions than where the bundle was made, with the same answers: {'; '.join(other)}"] if other else []
    )
    return OpenedBundle(bundle, aligner, sides["vision"], sides["text"], found, tuple(notes))


def _found(bundle: Bundle, which: Which, given: str | None, *, trust_remote_code: bool) -> EncoderRecord:
    """The encoder's record as it is called here. Its weights are read, and compared by digest."""
    record = EncoderRecord.from_json(bundle.aligner.metadata["encoders"][which])
    flag = f"--{which}"
    if given is None and bundle.local[which]:
        raise NotPresentError(
            f"The {which} encoder {record.spec} was a folder where the bundle was made. Its weights have the digest "
            f"{_short(record)}. Say where they lie here: structure open {bundle.folder} {flag} "
            f"{record.spec.partition(':')[0]}:/path/to/the/folder"
        )
    here = record if given is None else replace(record, spec=given, identity={**record.identity, "revision": ""})
    try:
        encoder = here.load(device="cpu", trust_remote_code=trust_remote_code)
    except NotPresentError as error:
        raise NotPresentError(
            f"The {which} encoder of the bundle is not here: {error} Or say under which name it is: structure open "
            f"{bundle.folder} {flag} NAME (weights {_short(record)})."
        ) from error
    _require_same(encoder, record, which)
    if given is None:
        return record
    return replace(here, identity={**identity_of(encoder), "precision": record.identity.get("precision", "")})


def _require_same(encoder: Encoder, record: EncoderRecord, which: str) -> None:
    fields = [
        (path, now, then)
        for path, now, then in differences(identity_of(encoder), record.identity)
        if path.partition(".")[0] not in NAME_ONLY
    ]
    if fields:
        fields.sort(key=lambda field: field[0] != "weights")  # the digest tells most
        told = "; ".join(f"{path}: {then!r} in the bundle, {now!r} here" for path, now, then in fields[:4])
        raise FingerprintError(
            f"The {which} encoder here is not the one of the bundle ({told}). Its embeddings would not fit. Get the "
            f"weights with the digest {_short(record)}, and name them with --{which}."
        )


def _short(record: EncoderRecord) -> str:
    return f"{str(record.identity.get('weights', ''))[:16]}..."


def _embedded(bundle: Bundle, side: ExportedSide) -> np.ndarray:
    if side.which == "text":
        examples = tokenize(side.encoder, list(bundle.texts))
    else:
        examples = [side.encoder.preprocess(Image.fromarray(image)) for image in bundle.images]
    return np.asarray(side.embed(examples).cpu().numpy())


def _largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")


def _other_versions(bundle: Bundle) -> list[str]:
    here = installed_versions()
    return [
        f"{name} {then} there, {here.get(name, 'none')} here"
        for name, then in bundle.versions.items()
        if here.get(name, "").partition("+")[0] != then.partition("+")[0]
    ]


def _differs(found: Mapping[str, float], other: list[str]) -> str:
    sides = " and ".join(f"{which} by up to {value:.1g}" for which, value in found.items() if value > AGREEMENT)
    why = (
        f"These versions differ: {'; '.join(other)}. Type: pip install -r requirements.txt, the one in the bundle."
        if other
        else "All versions on record are the same, so that it is the processor or a setting of this machine."
    )
    return f"The bundle's probes give other embeddings here ({sides}; {AGREEMENT:g} is rounding). {why}"


def _record(folder: Path) -> dict[str, Any]:
    file = folder / BUNDLE
    if not file.is_file() or file.is_symlink():
        raise StructureError(
            f"There is no bundle in {folder}: {BUNDLE} is missing. Make one with: structure export ALIGNER --bundle DIR"
        )
    if file.stat().st_size > MOST_OTHER:
        raise DamageError(f"{file} has more than {MOST_OTHER:,} bytes: it is no bundle's record.")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise DamageError(f"{file} is not JSON: the bundle is damaged. Ask for it again.") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StructureError(f"{file} is not the record of a bundle (its format is not {FORMAT}).")
    if record.get("version") != VERSION:
        raise StructureError(
            f"The bundle in {folder} has version {record.get('version')}; this program reads {VERSION}. "
            "Upgrade structure."
        )
    texts: Any = record.get("texts")
    names: list[Any] = [record.get("files"), record.get("versions"), record.get("local")]
    sound = (
        isinstance(record.get("name"), str)
        and isinstance(texts, list)
        and 0 < len(texts) <= MOST_PROBES
        and all(isinstance(text, str) and len(text) <= MOST_LETTERS for text in texts)
        and all(isinstance(part, dict) for part in names)
        and all(isinstance(value, str) for part in names[:2] for value in part.values())
        and all(isinstance(record["local"].get(which), bool) for which in WHICH)
    )
    if not sound:
        raise DamageError(f"{file} does not say what a bundle's record says: it is damaged. Ask for it again.")
    return record


def _probes(file: Path, *, texts: int) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """The images (height, width, 3) uint8 and the expected embeddings (n, dim) float32 of each side."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(file)
        images = tuple(tensors[f"image.{index}"] for index in range(len(tensors) - len(WHICH)))
        expected: dict[str, np.ndarray] = {which: tensors[f"embeddings.{which}"] for which in WHICH}
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise DamageError(
            f"{file} cannot be read as probes ({error}): the bundle is damaged. Ask for it again."
        ) from None
    sound = (
        0 < len(images) <= MOST_PROBES
        and all(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 for image in images)
        and all(0 < side <= MOST_SIDE for image in images for side in image.shape[:2])
        and all(rows.dtype == np.float32 and rows.ndim == 2 and np.isfinite(rows).all() for rows in expected.values())
        and len(expected["vision"]) == len(images)
        and len(expected["text"]) == texts
    )
    if not sound:
        raise DamageError(f"{file} holds other shapes than the probes of a bundle: it is damaged. Ask for it again.")
    return images, expected


def _require_plain_names(aligner: Aligner, folder: Path) -> None:
    """Raises `DamageError` for a record without encoders, and for a name that leads to a folder of this machine."""
    try:
        records = [EncoderRecord.from_json(aligner.metadata["encoders"][which]) for which in WHICH]
        _ = [(record.identity["weights"], record.extraction["pooling"]) for record in records]
        _ = [str(aligner.metadata["layers"][which]) for which in WHICH]
    except (KeyError, TypeError, IndexError):
        raise DamageError(f"The aligner in {folder} does not say which encoders it stands on.") from None
    for spec in [str(record.spec) for record in records]:
        plain = re.fullmatch(r"[\w.-]+(:[\w.@/#?&=+-]+)?", spec, flags=re.ASCII)
        parsed = parse_spec(spec) if plain and ".." not in spec else None
        if parsed is None or any(part.startswith(PATH_SIGNS) for part in (parsed.model, parsed.weights)):
            raise DamageError(
                f"The bundle in {folder} names the encoder {spec!r}, which leads to a place of one machine. It was not "
                "made by structure export --bundle: ask who made it."
            )
