"""From the numbers of found rows to hits: what each row is, and where its image is now."""

from __future__ import annotations

from typing import Any

from structure.pipeline.inference.gallery import SplitGallery
from structure.pipeline.inference.image_files import SplitFiles
from structure.pipeline.inference.search_result import Hit
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.knn.top_k import TopK


class FoundRows:
    """The rows of a gallery as hits; each split's dataset is opened once."""

    def __init__(self, context: RunContext, gallery: SplitGallery) -> None:
        self.gallery = gallery
        self.files = {split.name: SplitFiles(context, split) for split in gallery.splits}

    def hits(self, found: TopK) -> list[tuple[Hit, ...]]:
        """The hits of each query, best first; a row of -1 is none."""
        return [
            tuple(
                self._hit(rank, row, score)
                for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start=1)
                if row >= 0
            )
            for rows, scores in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        ]

    def image(self, hit: Hit) -> Any:
        """The image of a hit as it is now. Raises StructureError where it is not on this machine."""
        return self.files[hit.split].image(hit.sample)

    def _hit(self, rank: int, row: int, score: float) -> Hit:
        split, number = self.gallery.locate(row)
        found = split.row(number)
        file = self.files[split.name].file(found.sample)
        return Hit(rank, score, found.id, file.path, file.state, found.text, split.name, found.sample)
