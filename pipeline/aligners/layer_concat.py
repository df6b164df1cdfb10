"""Several layers of a side as one: unit rows of each, centred on the training mean, unit again, side by side.

On 3,000 icons two layers a side reach more than the best layer pair (tests/benchmarks/layer_concat.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners.arrays import as_tensor
from structure.pipeline.aligners.fit_result import FitResult
from structure.pipeline.aligners.heads.concat_head import ConcatHead, centred_layers, unit_layers
from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.training_data import TrainingData
from structure.pipeline.aligners.unpaired import Unpaired
from structure.store import JoinedRows
from structure.store.errors import StructureError

CHUNK = 8192
"""Rows that are read at a time."""


@dataclass(frozen=True)
class LayerConcat:
    """The step before a head over layers of these `widths`; `mean` (sum of the widths,) float32 of the training rows,
    each layer's of unit length."""

    widths: tuple[int, ...]
    mean: torch.Tensor

    @classmethod
    def of(cls, rows: JoinedRows) -> LayerConcat:
        """The step for these training rows. Raises StructureError for fewer than two, which have no mean."""
        if len(rows) < 2:
            raise StructureError(
                f"{len(rows)} pairs: several layers a side are centred on the mean of the training rows. Name one "
                "layer a side, such as --layers block.11,block.05, or add pairs."
            )
        total = torch.zeros(rows.shape[1], dtype=torch.float64)
        for at in range(0, len(rows), CHUNK):
            total += torch.from_numpy(rows[at : at + CHUNK]).double().sum(dim=0)
        return cls(rows.widths, (total / len(rows)).float())

    def __call__(self, rows: Any) -> np.ndarray:
        """(n, sum of the widths) float32, what the head reads, of rows of the layers side by side."""
        unit = unit_layers(as_tensor(np.asarray(rows)).float(), self.widths)
        return np.asarray(centred_layers(unit, self.mean, self.widths))

    def before(self, head: Head) -> Head:
        """The step and a head that was fitted to what it gives, as one head."""
        return ConcatHead.before(head, widths=self.widths, mean=self.mean)


Steps = tuple[LayerConcat | None, LayerConcat | None]


@dataclass(frozen=True)
class ConcatenatedData:
    """Training data as a method reads them: the rows of a side of several layers after its step; None for one layer."""

    data: TrainingData
    steps: Steps

    @classmethod
    def of(cls, data: TrainingData) -> ConcatenatedData:
        """The steps follow from the training rows alone; validation pairs and unpaired rows go through them too."""
        if not any(isinstance(side, JoinedRows) for side in (data.vision, data.text)):
            return cls(data, (None, None))

        def concatenate() -> tuple[Steps, Any, Any]:
            steps = _step(data.vision), _step(data.text)
            return steps, *_through(steps, (data.vision, data.text))

        steps, vision, text = data.once("layers side by side", concatenate)
        validation = None if data.validation is None else _through(steps, data.validation)
        unpaired = data.unpaired
        if unpaired is not None:
            unpaired = Unpaired(*_through(steps, (unpaired.vision, unpaired.text)))
        return cls(replace(data, vision=vision, text=text, validation=validation, unpaired=unpaired), steps)

    @property
    def sides(self) -> tuple[Any, Any]:
        """The training rows of both sides."""
        return self.data.vision, self.data.text

    def whole(self, result: FitResult) -> FitResult:
        """The result of a fit to the data, its heads with the steps before them."""
        if self.steps == (None, None):
            return result
        aligner = result.aligner
        vision, text = (
            head if step is None else step.before(head)
            for step, head in zip(self.steps, (aligner.vision, aligner.text), strict=True)
        )
        return replace(result, aligner=replace(aligner, vision=vision, text=text))


def _step(side: Any) -> LayerConcat | None:
    return LayerConcat.of(side) if isinstance(side, JoinedRows) else None


def _through(steps: Steps, sides: tuple[Any, Any]) -> tuple[Any, Any]:
    first, second = (
        side if step is None or side is None else step(side) for step, side in zip(steps, sides, strict=True)
    )
    return first, second
