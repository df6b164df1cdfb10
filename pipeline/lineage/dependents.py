"""What was made from a feature set, an aligner or a ranking: the records of a store that name it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from structure.pipeline.aligners.aligner_runs import RECORD
from structure.pipeline.aligners.heads.kinds import HEADS
from structure.pipeline.inference.embedding_records import FOLDER, embedding_prefixes
from structure.pipeline.results import COMPARISONS
from structure.pipeline.similarity.layer_similarity import FILE as RANKING
from structure.pipeline.similarity.model_matrix import FILE as MODELS
from structure.store import Store
from structure.store.errors import StructureError
from structure.store.seals import SealError, read_json

SIDES = ("vision", "text")


@dataclass(frozen=True)
class StoredSet:
    """A feature set by its key; `fingerprint` is "" where its manifest does not read."""

    key: str
    fingerprint: str = ""

    @classmethod
    def of(cls, store: Store, key: str) -> StoredSet:
        """The set of that key, whole or not."""
        try:
            return cls(key, store[key].fingerprint)
        except StructureError:
            return cls(key)

    def is_meant(self, data: str, model: str, fingerprint: str) -> bool:
        """Whether a record that names an encoder over data, and the fingerprint, means this set."""
        return f"{data}/{model}" == self.key or (self.fingerprint != "" and fingerprint == self.fingerprint)


def neighbours_of(features: StoredSet) -> str:
    """The folder of its neighbour tables."""
    return f"neighbours/{features.key}"


def embeddings_of(store: Store, features: StoredSet) -> list[str]:
    """The folders of its aligned embeddings."""
    return [prefix for prefix in embedding_prefixes(store) if prefix.split("/", 2)[2] == features.key]


def rankings_of(store: Store, features: StoredSet) -> list[str]:
    """Rankings of its layers, those of many models among them."""
    found = []
    for name, body in _documents(store, "rankings", RANKING):
        if any(_names(body, features, body.get(side)) for side in SIDES):
            found.append(name)
    for name, body in _documents(store, "rankings", MODELS):
        if any(_names(body, features, model) for model in [*body.get("first", ()), *body.get("second", ())]):
            found.append(name)
    return sorted(set(found))


def _names(body: dict[str, Any], features: StoredSet, side: Any) -> bool:
    """Whether one side of a ranking is this set."""
    if not isinstance(side, dict):
        return False
    data = f"{body.get('dataset')}/{body.get('split')}"
    return features.is_meant(data, str(side.get("model")), str(side.get("fingerprint")))


def aligners_of(store: Store, features: StoredSet) -> list[str]:
    """Aligners that were trained on it, paired or not."""
    return [name for name, body in _documents(store, "aligners", RECORD) if _trained_on(body, features)]


def _trained_on(body: dict[str, Any], features: StoredSet) -> bool:
    facts = body.get("metadata", {})
    try:
        data = f"{facts['data']['dataset']}/{facts['data']['split']}"
        sides = [(facts["encoders"][side]["name"], facts["fingerprints"][side]) for side in SIDES]
    except (KeyError, TypeError):
        return False
    beside = [str(name).rstrip("/") for name in facts.get("unpaired_features", ())]
    beside += [str(name).rpartition(":")[0] for name in facts.get("added", ())]
    unpaired = any(f"{features.key}/".startswith(f"{name}/") for name in beside)
    return unpaired or any(features.is_meant(data, name, known) for name, known in sides)


def aligners_by_ranking(store: Store, ranking: str) -> list[str]:
    """Aligners whose layers that ranking chose."""
    said = f"ranking {ranking}"
    found = _documents(store, "aligners", RECORD)
    return [name for name, body in found if body.get("metadata", {}).get("layers_chosen_by") == said]


def holds_rows(store: Store, aligner: str) -> bool:
    """Whether the aligner's weights are rows of its training data themselves: anchors, or landmarks of a kernel."""
    try:
        body = read_json(store.folder("aligners", aligner), RECORD)
        heads = [body[side] for side in SIDES]
        kinds = {head["kind"] for head in heads} | {head["settings"].get("inner", {}).get("kind") for head in heads}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return True  # nobody knows
    return any(kind not in HEADS or HEADS[kind].holds_rows for kind in kinds - {None})


def comparisons_of(store: Store, aligner: str) -> list[str]:
    """Keys of the saved comparisons with this aligner."""
    keys = store.files.keys(COMPARISONS)
    return [key for key in keys if aligner in key.rpartition("/")[2].removesuffix(".json").split("..")]


def folders_of_aligner(aligner: str) -> tuple[str, ...]:
    """Folders of what was made with an aligner: its results, its aligned embeddings, the state of its training."""
    return (f"results/{aligner}", f"{FOLDER}/{aligner}", f"checkpoints/{aligner}")


def _documents(store: Store, kind: str, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    folder = store.folder(kind)
    for name in folder.holding(file):
        try:
            yield name, read_json(folder, f"{name}/{file}")
        except SealError:
            continue
