"""Canonical similarity analysis in closed form, from moments that add up over row chunks.

CCA with projections that whiten: with S the covariances, S11^-1/2 S12 S22^-1/2 = U D V^T; W1 = S11^-1/2 U and
W2 = S22^-1/2 V. D are the canonical correlations. Source: Hotelling 1936, in the form of CSA (arXiv 2410.07610).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array, as_tensor, check_pairs
from structure.pipeline.aligners.training_data import TrainingData
from structure.store.errors import StructureError

FLOOR = 1e-10
"""Directions whose variance is below this share of the largest are cut: their inverse root would be noise."""

CHUNK = 8192
"""Rows that are taken at a time."""

Spectrum = tuple[torch.Tensor, torch.Tensor]


PRODUCTS = ("xx", "yy", "xy")
"""Second moments: of either side, and across."""


@dataclass
class Moments:
    """Means and centred second moments of paired rows (divided by n), float64, gathered in one pass; of the second
    moments those that are `needed`."""

    rows: int = 0
    mean_x: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    mean_y: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    xx: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    yy: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    xy: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    needed: tuple[str, ...] = PRODUCTS

    def add(self, x: Array, y: Array) -> None:
        """Take in paired rows (n, dx) and (n, dy), merged as in Chan et al. 1979: how rows are cut does not matter."""
        left, right = (as_tensor(side).to(torch.float64, copy=True) for side in (x, y))
        count = len(left)
        if not count:
            return
        vars(self).pop("spectra", None)
        mean_x, mean_y = left.mean(dim=0), right.mean(dim=0)
        left -= mean_x
        right -= mean_y
        sides = {"x": left, "y": right}
        products = ((name, (sides[name[0]].T @ sides[name[1]]).div_(count)) for name in self.needed)  # one at a time
        if not self.rows:
            self.rows, self.mean_x, self.mean_y = count, mean_x, mean_y
            vars(self).update(products)
            return
        share = count / (self.rows + count)
        gaps = {"x": mean_x - self.mean_x, "y": mean_y - self.mean_y}
        for name, new in products:
            old: torch.Tensor = getattr(self, name)
            old.mul_(1 - share).add_(new, alpha=share)
            old.addr_(gaps[name[0]], gaps[name[1]], alpha=share * (1 - share))
        self.mean_x += share * gaps["x"]
        self.mean_y += share * gaps["y"]
        self.rows += count

    @cached_property
    def spectra(self) -> tuple[Spectrum, Spectrum]:
        """Eigenvalues, ascending, and eigenvectors of both sides' covariances."""
        return _spectrum(self.xx), _spectrum(self.yy)


def moments(chunks: Iterable[tuple[Array, Array]], *, needed: tuple[str, ...] = PRODUCTS) -> Moments:
    """The moments of paired row chunks (n_i, dx), (n_i, dy): one pass, any number of rows."""
    gathered = Moments(needed=needed)
    for x, y in chunks:
        gathered.add(x, y)
    return gathered


def pair_moments(vision: Array, text: Array, *, needed: tuple[str, ...] = PRODUCTS) -> Moments:
    """The moments of paired rows (n, dx), (n, dy), read once, chunk by chunk."""
    chunks = ((vision[at : at + CHUNK], text[at : at + CHUNK]) for at in range(0, len(vision), CHUNK))
    return moments(chunks, needed=needed)


def moments_of(data: TrainingData, *, needed: tuple[str, ...] = PRODUCTS) -> Moments:
    """The moments of training pairs; all of them where fits of the same pairs share them."""
    if data.shared is None:
        return pair_moments(data.vision, data.text, needed=needed)
    return data.once("moments", lambda: pair_moments(data.vision, data.text))


@dataclass(frozen=True)
class CanonicalMap:
    """A fitted CSA. `projection_x` (dx, dim), `projection_y` (dy, dim), float64; `correlations` (dim,), descending.

    `cut` says how many directions of each side fell below the eigenvalue floor, of how many.
    """

    mean_x: torch.Tensor
    mean_y: torch.Tensor
    projection_x: torch.Tensor
    projection_y: torch.Tensor
    correlations: np.ndarray
    cut: tuple[str, ...]
    rows: int

    def embed_images(self, features: Array) -> Array:
        """(rows, dx) -> (rows, dim) unit rows, float64 for float64 input, else float32; of the kind given."""
        return _project(features, self.mean_x, self.projection_x)

    def embed_texts(self, features: Array) -> Array:
        """(rows, dy) -> (rows, dim) unit rows."""
        return _project(features, self.mean_y, self.projection_y)

    def similarity(self, images: Array, texts: Array, *, weighted: bool = False) -> Array:
        """Cosines of embeddings; `weighted` is CSA's sum_k rho_k x_k y_k over unit rows, not normalised again."""
        left, right = as_tensor(images), as_tensor(texts)
        if weighted:
            left = left * torch.as_tensor(self.correlations).to(left)
        scores = left @ right.to(left).T
        return scores.numpy() if isinstance(images, np.ndarray) else scores


def fit_csa(x: Array, y: Array, *, dim: int, ridge: float = 0.0, floor: float = FLOOR) -> CanonicalMap:
    """Fit on paired rows (n, dx), (n, dy): the `dim` strongest canonical directions.

    `ridge` adds that share of the mean variance to each side's covariance. Raises StructureError where there are fewer
    rows than `dim`, where a width (or what the eigenvalue floor leaves of it) is below `dim`, and for bad rows.
    """
    check_pairs(x, y, least=max(dim, 2), why=f"CSA to {dim} dimensions")
    return fit_csa_moments(pair_moments(x, y), dim=dim, ridge=ridge, floor=floor)


def fit_csa_moments(
    gathered: Moments, *, dim: int, ridge: float = 0.0, floor: float = FLOOR, clamp: bool = False
) -> CanonicalMap:
    """`fit_csa` from moments that were gathered elsewhere, over shards for instance. With `clamp` the directions that
    there are will do where they are fewer than `dim`."""
    (root_x, cut_x), (root_y, cut_y) = (_inverse_root(*spectrum, ridge, floor) for spectrum in gathered.spectra)
    kept = min(len(root_x) - cut_x, len(root_y) - cut_y)
    cut = tuple(
        f"{what}: {count} of {len(root)} directions cut, variance below {floor:g} of the largest"
        for what, count, root in (("vision", cut_x, root_x), ("text", cut_y, root_y))
        if count
    )
    if clamp:
        dim = min(dim, kept)
    if kept < dim:
        said = f" ({'; '.join(cut)})" if cut else ""
        raise StructureError(
            f"CSA to {dim} dimensions asks for more than the {kept} that the features have in common{said}. "
            f"Pass --dim {kept} or less, more pairs, or another layer."
        )
    u, correlations, vt = torch.linalg.svd(root_x @ gathered.xy @ root_y, full_matrices=False)
    return CanonicalMap(
        mean_x=gathered.mean_x,
        mean_y=gathered.mean_y,
        projection_x=root_x @ u[:, :dim],
        projection_y=root_y @ vt[:dim].T,
        correlations=correlations[:dim].cpu().numpy(),
        cut=cut,
        rows=gathered.rows,
    )


def _spectrum(covariance: torch.Tensor) -> Spectrum:
    values, vectors = torch.linalg.eigh(covariance)
    return values, vectors


def _inverse_root(values: torch.Tensor, vectors: torch.Tensor, ridge: float, floor: float) -> tuple[torch.Tensor, int]:
    """The inverse square root on the directions above the floor, and how many were cut."""
    kept = values > floor * values[-1]
    raised = (values + ridge * values.mean())[kept]
    basis = vectors[:, kept]
    return (basis / raised.sqrt()) @ basis.T, int((~kept).sum())


def _project(features: Array, mean: torch.Tensor, projection: torch.Tensor) -> Array:
    rows = as_tensor(features)
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    out = F.normalize((rows.double() - mean.to(rows.device)) @ projection.to(rows.device), dim=1).to(dtype)
    return out.numpy() if isinstance(features, np.ndarray) else out
