"""Many rankings side by side: the best layer pair of every two models, as a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from structure.pipeline.charts import WIDTH, png
from structure.pipeline.similarity.charts import model_matrix
from structure.pipeline.similarity.registry import notation
from structure.store.files import Files
from structure.store.seals import LISTED, Seal, digests

FILE, CHART = "models.json", "models.png"


@dataclass(frozen=True)
class ModelPair:
    """The ranking of two models, shortened: its best pair, and the id under which the whole is saved."""

    first: str
    second: str
    first_layer: str
    second_layer: str
    score: float
    calibrated: float | None
    p_value: float | None
    k: int
    rows: int
    ranking: str

    @classmethod
    def of(cls, ranking: Mapping[str, Any], name: str) -> ModelPair:
        """From a ranking's document."""
        best = {field: ranking["best"][field] for field in ("score", "calibrated", "p_value")}
        return cls(
            ranking["vision"]["model"],
            ranking["text"]["model"],
            ranking["best"]["vision_layer"],
            ranking["best"]["text_layer"],
            **best,
            k=ranking["k"],
            rows=ranking["rows"],
            ranking=name,
        )

    def turned(self) -> ModelPair:
        """The same ranking seen from the second model."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            first_layer=self.second_layer,
            second_layer=self.first_layer,
        )


@dataclass(frozen=True)
class ModelSimilarity:
    """Best scores of every (first model, second model) and where they are saved.

    `cells` are the pairs that were ranked; `document` is what `structure rank-layers --all --json` prints. A p-value is
    corrected for the layer pairs of its two models, not for the number of models.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    cells: tuple[ModelPair, ...]
    document: Mapping[str, Any]
    folder: Files

    def matrix(self) -> np.ndarray:
        """`(first, second)` float64 best scores, NaN where two models were not compared."""
        values = np.full((len(self.first), len(self.second)), np.nan)
        for cell in self.cells:
            values[self.first.index(cell.first), self.second.index(cell.second)] = cell.score
        return values

    def save(self) -> None:
        """Write `models.png`, and `models.json` with the document.

        Both lie in `rankings/<dataset>.<split>.<between>.<metric>/`; a reader finds them by `models.json`. Each of its
        `cells` names two models, their best layers and the id of their own ranking, the folder beside it.
        """
        title = f"Best {notation(self.document['metric'])} over all layer pairs"
        title += f"\n{self.document['dataset']}/{self.document['split']}"
        width = max(WIDTH, 80 * len(self.second))  # room for the names of layers
        chart = png(model_matrix(self.document), title=title, width=width)
        self.folder.write(CHART, chart)
        document = {**self.document, LISTED: digests({CHART: chart})}
        self.folder.write(FILE, Seal.of(self.folder, FILE).json(document, indent=1))


def both_ways(cells: Sequence[ModelPair]) -> list[ModelPair]:
    """Each cell and its mirror image, for models of one modality."""
    return [side for cell in cells for side in (cell, cell.turned())]
