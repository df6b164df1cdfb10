"""What a similarity metric is: one class that scores all layer pairs and says everything about itself.

An instance is made once for the layers of two models (tables, graphs, singular vectors, kernels) and then asked for
scores: of the rows as they are, or with the text rows permuted, which is what a permutation test needs. A permutation
renames table entries; no feature is read again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from structure.store.errors import StructureError

if TYPE_CHECKING:
    from structure.pipeline.similarity.knn.unit_rows import RowSlices

Tables = tuple[np.ndarray, np.ndarray]
"""Both sides' neighbour tables: (Lv, rows, k) and (Lt, rows, k) int32."""


@dataclass(frozen=True)
class ComparedLayers:
    """What metrics read: row i of every layer, and of every table, is the same sample.

    `vision` and `text` are layers of (rows, width); `tables` their neighbours, or None where no neighbours were
    searched. `memory` bytes are the budget of one computation. A metric that needs only tables may be given only them.
    """

    vision: Sequence[RowSlices] = ()
    text: Sequence[RowSlices] = ()
    tables: Tables | None = None
    memory: int = 1 << 30


@dataclass(frozen=True)
class SimilarityMetric(ABC):
    """Scores of every (vision layer, text layer). A frozen dataclass: fields beside `layers` are the metric's options.

    What a metric says of itself: what it needs, how many permutations its test draws by default, the range of its
    score, whether both sides can be exchanged and whether a layer scores 1 against itself, `notation` (short, for
    axes and tables) and `meaning` (a phrase, for help and glossary).
    """

    layers: ComparedLayers

    needs_neighbours: ClassVar[bool] = False
    needs_rows: ClassVar[bool] = False
    permutations: ClassVar[int] = 200
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    is_symmetric: ClassVar[bool] = True
    is_one_on_itself: ClassVar[bool] = True
    notation: ClassVar[str]
    meaning: ClassVar[str]

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many rows every layer has."""

    @abstractmethod
    def scores(self, permutation: np.ndarray | None = None) -> np.ndarray:
        """`(Lv, Lt)` float64; with `permutation` (rows,) text row n is moved to row `permutation[n]`, the same in
        every layer. NaN where the score is undefined."""

    def permuted_scores(self, permutations: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`scores` of each permutation, in order; a metric that can answer for many at once says so here."""
        return map(self.scores, permutations)

    def per_row(self, i: int, j: int) -> np.ndarray | None:
        """`(rows,)` float64 whose mean is the score of a pair, for intervals; None where the score is no mean."""
        return None

    def chance(self) -> float | None:
        """The expected score of unrelated layers, where a formula gives it."""
        return None

    def mutual_knn_curve(self) -> np.ndarray | None:
        """`(k, Lv, Lt)` float64: mutual kNN for every number of neighbours up to this metric's, where that helps to
        judge the choice of k."""
        return None

    @classmethod
    def can_repeat_on_subsets(cls) -> bool:
        """Whether neighbour tables alone give the score: then the choice of layers is repeated on random subsets."""
        return cls.needs_neighbours and not cls.needs_rows

    @classmethod
    def options(cls) -> list[str]:
        """The names of the options: the fields beside `layers`."""
        return [field.name for field in fields(cls) if field.name != "layers"]

    @classmethod
    def accepted(cls, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that the metric, registered as `name`, has. Raises StructureError for one that it does not have.

        Two settings mean nothing where there is nothing to set, and are no error there: `eps` of a metric without a
        denominator, and `normalise=True` of one that always normalises.
        """
        own = {option: value for option, value in options.items() if option in cls.options()}
        for option in options.keys() - own.keys():
            if option != "eps" and not (option == "normalise" and options[option]):
                known = ", ".join(cls.options()) or "it has none"
                raise StructureError(
                    f"The similarity metric {name} has no option {option} (its options: {known}), so the value "
                    f"{options[option]!r} would change nothing. Leave it out, or choose another metric."
                )
        return own


@dataclass(frozen=True)
class NeighbourMetric(SimilarityMetric):
    """A metric of neighbour tables."""

    needs_neighbours: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.layers.tables is None:
            raise ValueError(f"{type(self).__name__} needs neighbour tables")

    @property
    def vision(self) -> np.ndarray:
        """`(Lv, rows, k)` int32."""
        return self._tables[0]

    @property
    def text(self) -> np.ndarray:
        """`(Lt, rows, k)` int32."""
        return self._tables[1]

    @property
    def _tables(self) -> Tables:
        assert self.layers.tables is not None
        return self.layers.tables

    @property
    def rows(self) -> int:
        return int(self.vision.shape[1])

    @property
    def k(self) -> int:
        return int(self.vision.shape[2])

    def permuted(self, permutation: np.ndarray | None) -> np.ndarray:
        """The text tables when text row n is row `permutation[n]`: rows moved, entries renamed."""
        if permutation is None:
            return self.text
        permutation = permutation.astype(self.text.dtype)
        moved = np.empty_like(self.text)
        moved[:, permutation] = permutation[self.text]
        return moved
