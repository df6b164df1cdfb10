"""What a search found: for each query the best rows of the gallery, with their files and texts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from structure.pipeline.inference.image_files import FILE_NOTES, FileState

Target = Literal["images", "text"]
Scores = Literal["cosine", "csls"]


@dataclass(frozen=True)
class Hit:
    """One answer. `rank` from 1; `id` of the sample, or of its caption; `path` where its image is now, `file` what has
    become of it ("" as it was); `caption` its text, "" where it has none; `split` its dataset and split, `sample` its
    id there."""

    rank: int
    score: float
    id: str
    path: str = ""
    file: FileState = ""
    caption: str = ""
    split: str = ""
    sample: str = ""

    @property
    def note(self) -> str:
        """What has become of its file, in words; "" where it is as it was."""
        return FILE_NOTES.get(self.file, "")


@dataclass(frozen=True)
class QueryHits:
    """A query, words or an image file, and its hits, best first."""

    query: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class SearchResult:
    """What `structure search` answers. `rows` were searched; `encoder_passes` counts how often an encoder had to read
    data that were not in the store (queries do not count). `to` is a `Target`, or a modality of a hub. `index` is the
    folder of the index that was asked, "" for exact search."""

    aligner: str
    dataset: str
    to: str
    scores: Scores
    k: int
    rows: int
    queries: tuple[QueryHits, ...]
    encoder_passes: int
    seconds: float
    index: str = ""

    def to_json(self) -> dict[str, Any]:
        """The document of `structure search --json`."""
        return asdict(self)
