"""Whether two feature sets can be the two sides of a ranking or an aligner, by what their manifests say."""

from __future__ import annotations

from structure.store import FeatureSet
from structure.store.errors import StructureError


def require_two_sides(vision: FeatureSet, text: FeatureSet, *, one_modality: bool) -> None:
    """Refuse a feature set beside itself, sides that are swapped and, without `one_modality`, two of one modality.

    Raises StructureError that says which is which and what to type.
    """
    first, second = vision.manifest, text.manifest
    if vision.key == text.key or vision.fingerprint == text.fingerprint:
        same = f"{vision.key}" if vision.key == text.key else f"{vision.key} and {text.key}, the same features twice,"
        raise StructureError(
            f"Both sides are {same} ({first.modality}): features compared with themselves agree in everything, which "
            f"says nothing. Name two encoders: --vision <vision encoder> --text <text encoder>."
        )
    if first.modality == "text" and second.modality != "text":
        raise StructureError(
            f"The sides are swapped: {vision.key} is text and {text.key} is {second.modality}. Layers and heads of "
            f"each would be taken for the other's. Write --vision {second.encoder} --text {first.encoder}."
        )
    if first.modality == second.modality and not one_modality:
        raise StructureError(
            f"{vision.key} and {text.key} are both {first.modality}. An aligner brings two modalities together: with "
            "one of them on both sides there is nothing to ask it. Name one of each with --vision and --text, or "
            f"compare the two with: structure rank-layers --vision {first.encoder} --text {second.encoder}"
        )


def require_side(side: str, name: str, modality: str) -> None:
    """Raises StructureError where an encoder of that modality cannot stand on the `side` (vision or text)."""
    if (side == "text") != (modality == "text"):
        raise StructureError(
            f"The encoder {name} is {modality} and stands on the {side} side: the two are swapped, or one is named "
            "twice. Put the text encoder under text and the other one under vision."
        )
