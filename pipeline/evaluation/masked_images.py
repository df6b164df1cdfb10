"""A set of masks as every aligner of a run sees it: windows planned once, masks read once as far as memory allows."""

from __future__ import annotations

from threading import Lock

import numpy as np

from structure.pipeline.datasets.dataset import Dataset
from structure.pipeline.datasets.windows import Frame, Mode, WindowedImages
from structure.pipeline.evaluation.mask_protocol import MaskProtocol
from structure.pipeline.extraction.sample_index import SampleIndex, read_samples
from structure.pipeline.extraction.stored_or_extracted import FeatureSource
from structure.store.errors import BadSampleError

KEPT_BYTES = 256 * 2**20
"""Bytes of masks that are saved between aligners."""

DRAWN = 2
"""Aligners of a run of which overlays are drawn."""


class MaskedImages:
    """`pictures` with masks, counted by `protocol`. `drawn` says of how many aligners overlays were drawn."""

    def __init__(self, pictures: Dataset, protocol: MaskProtocol, mode: Mode) -> None:
        self.pictures, self.protocol, self.mode = pictures, protocol, mode
        self.drawn = 0
        self._rows: dict[Frame, tuple[WindowedImages, SampleIndex]] = {}
        self._truths: dict[int, np.ndarray] = {}
        self._kept, self._alone = 0, Lock()

    def windows(self, frame: Frame, source: FeatureSource) -> tuple[WindowedImages, SampleIndex]:
        """The windows for an encoder, and the rows of their features."""
        if frame not in self._rows:
            windows = WindowedImages(self.pictures, frame, self.mode)
            samples = read_samples(source.context, windows)
            self._rows[frame] = windows, SampleIndex(samples, windows, "")
        return self._rows[frame]

    def truth(self, index: int) -> np.ndarray | None:
        """(height, width) uint8: place in the protocol's names, 255 = ignored; None where the mask cannot be read."""
        if index in self._truths:
            return self._truths[index]
        try:
            found: np.ndarray = self.protocol.number[self.pictures.mask(index)].astype(np.uint8)
        except BadSampleError:
            return None
        with self._alone:
            if index not in self._truths and self._kept + found.nbytes <= KEPT_BYTES:
                self._truths[index] = found
                self._kept += found.nbytes
        return found
